//! Nothing that waits grows without end: the inbox of a process that runs, what a witness keeps durably of votes in
//! vain, and what is still to happen in the whole world: letters under way, reads and writes that wait.

use super::{Found, Theorem};

/// Messages that may wait for a process that runs; a frozen one is let off until it runs again.
pub const INBOX: usize = 2_000;
/// Links that a witness may keep beyond the log. Its patience doubles with each vote in vain, so they come ever slower.
pub const CHAIN: usize = 200;

/// What may be still to happen, for each process: a letter a report and stream, and some time's worth of them on a slow link.
pub const TO_COME: usize = 500;

/// What is still to happen in a world of so many processes.
pub fn look_ahead(to_come: usize, processes: usize, found: &mut Found) {
    let most = TO_COME * processes;
    found.demand(Theorem::BoundedQueues, to_come <= most, |_| {
        format!(
            "{to_come} things are still to happen among {processes} processes, at most {most} are allowed"
        )
    });
}

/// What waits at one process.
pub fn look(who: impl Fn() -> String, inbox: usize, chain: usize, found: &mut Found) {
    found.demand(Theorem::BoundedQueues, inbox <= INBOX, |_| {
        format!("{inbox} messages wait for {}, at most {INBOX} are allowed", who())
    });
    found.demand(Theorem::BoundedQueues, chain <= CHAIN, |_| {
        format!("{} keeps {chain} votes beyond the log, at most {CHAIN} are allowed", who())
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_much_is_found() {
        let mut found = Found::default();
        look(|| "wa".to_owned(), INBOX, CHAIN, &mut found);
        assert_eq!(found.violations, []);
        look(|| "wa".to_owned(), INBOX + 1, CHAIN + 1, &mut found);
        assert_eq!(found.violations.len(), 2);
        look_ahead(2 * TO_COME, 2, &mut found);
        assert_eq!(found.violations.len(), 2);
        look_ahead(2 * TO_COME + 1, 2, &mut found);
        assert_eq!(found.violations.len(), 3);
    }
}
