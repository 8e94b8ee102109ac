//! How long to wait before trying again: twice as long each time, within bounds, and never in step with other clients.

use rand::Rng;
use std::time::Duration;

/// The first wait, at most.
const FIRST: Duration = Duration::from_millis(20);
/// The longest wait: short against the failover itself, so that nobody sleeps through it.
const LONGEST: Duration = Duration::from_millis(500);

/// The waits between attempts.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub fn new() -> Backoff {
        Backoff { next: FIRST }
    }

    /// Things went well: begin anew.
    pub fn reset(&mut self) {
        self.next = FIRST;
    }

    /// The next wait: between half of the bound and the bound, which then doubles.
    pub fn wait(&mut self) -> Duration {
        let bound = self.next;
        self.next = (bound * 2).min(LONGEST);
        rand::rng().random_range(bound / 2..=bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_within_bounds_and_begin_anew() {
        let mut backoff = Backoff::new();
        let mut bound = FIRST;
        for _ in 0..50 {
            let wait = backoff.wait();
            assert!(wait >= bound / 2 && wait <= bound, "{wait:?} outside {bound:?}");
            bound = (bound * 2).min(LONGEST);
        }
        backoff.reset();
        assert!(backoff.wait() <= FIRST);
    }

    #[test]
    fn two_clients_do_not_wait_in_step() {
        let waits = || {
            let mut backoff = Backoff::new();
            (0..20).map(|_| backoff.wait()).collect::<Vec<_>>()
        };
        assert_ne!(waits(), waits());
    }
}
