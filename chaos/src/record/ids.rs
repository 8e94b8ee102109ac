//! Sets of row numbers, written as ranges: rows are many, and almost all are there.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// A set of numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<(u64, u64)>", into = "Vec<(u64, u64)>")]
pub struct Ids(pub BTreeSet<u64>);

impl From<Vec<(u64, u64)>> for Ids {
    fn from(ranges: Vec<(u64, u64)>) -> Ids {
        Ids(ranges.into_iter().flat_map(|(first, last)| first..=last).collect())
    }
}

impl From<Ids> for Vec<(u64, u64)> {
    fn from(ids: Ids) -> Vec<(u64, u64)> {
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for id in ids.0 {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == id => *last = id,
                _ => ranges.push((id, id)),
            }
        }
        ranges
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_written_as_ranges_and_read_as_it_was() {
        let ids = Ids([1, 2, 3, 7, 9, 10].into());
        let text = serde_json::to_string(&ids).unwrap();
        assert_eq!(text, "[[1,3],[7,7],[9,10]]");
        assert_eq!(serde_json::from_str::<Ids>(&text).unwrap(), ids);
    }
}
