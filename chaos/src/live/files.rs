//! How many files the harness and what it starts may have open: a herd of watchers needs one for each connection, at both ends.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// What a process needs beside the connections of a herd.
const BESIDE: u64 = 500;

/// Raises the limit as far as this user may. What is started afterwards inherits it.
pub fn allow_many() {
    let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    // A limit that stays as it is makes herds smaller, which says so.
    let _ = setrlimit(Resource::RLIMIT_NOFILE, most, most);
}

/// How many of `wanted` callers this process can have open at once.
pub fn fit(wanted: u32) -> u32 {
    let allowed = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(now, _)| now);
    of_limit(wanted, allowed)
}

fn of_limit(wanted: u32, allowed: u64) -> u32 {
    wanted.min(u32::try_from(allowed.saturating_sub(BESIDE)).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_herd_is_as_large_as_wanted_where_the_limit_allows_it() {
        assert_eq!(of_limit(4500, 20_000), 4500);
        assert_eq!(of_limit(4500, 1024), 524);
        assert_eq!(of_limit(4500, 100), 0);
        assert_eq!(of_limit(4500, u64::MAX), 4500);
    }
}
