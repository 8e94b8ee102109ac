//! The seeds that failed once. They are part of the program, so that they are run whatever it is asked for.

use regent_world::Profile;

const KNOWN: &str = include_str!("../../seeds/known.txt");

/// Each with its profile.
pub fn seeds() -> impl Iterator<Item = (Profile, u64)> {
    KNOWN.lines().filter(|line| !line.starts_with('#')).filter_map(parse)
}

fn parse(line: &str) -> Option<(Profile, u64)> {
    let mut words = line.split_whitespace();
    Some((Profile::named(words.next()?)?, words.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_names_a_profile_a_seed_and_a_reason() {
        let lines = KNOWN.lines().filter(|line| !line.starts_with('#'));
        for line in lines {
            assert!(parse(line).is_some(), "expected a profile, a seed and why, got {line:?}");
            assert!(line.split_whitespace().count() > 2, "why was {line:?} kept?");
        }
    }
}
