//! On which timeline a promotion goes on.
//!
//! Postgres by itself takes one more than the newest timeline it has heard of. Two instances that are promoted in different
//! epochs from one timeline, the first of them in vain, would give one number to two contents, and Postgres goes by the
//! number: a standby of one follows the other without complaint, splices its log and confirms what it has not. So positions
//! of two instances could be compared only by who had followed whom.
//!
//! # Why no two promotions share a timeline
//!
//! *A promotion in epoch e makes timeline `timeline_base` + e*, whatever timelines its Postgres has heard of.
//!
//! 1. An epoch has one owner, so two instances take different numbers. In one epoch an instance promotes its Postgres once:
//!    where a timeline of that number is there already, an attempt of this epoch was interrupted, by a crash of the machine,
//!    after it had made it. It is not tried again; the office that its Postgres does not fill is given up, as any (`office`),
//!    and the next epoch has another number.
//! 2. The base is recorded once, together with the system identifier: what the timeline of the first primary is ahead of its
//!    epoch, or 0. Nobody but that primary is promoted before it is known; so every promotion counts by the same base, and
//!    from a timeline below its number.
//! 3. In the order of epochs numbers grow. Who is decided has not promoted yet may be on any of the lower ones.
//!
//! Left to Postgres is what has no number of its own: the promotion of the first primary, if it was a standby before
//! it was adopted; and a promotion from a timeline above the number, which somebody else has made by hand.
//!
//! How Postgres is brought to take that number is the shell's: it sees to it, or says that it did not.

use super::{Agent, Task};
use crate::ids::Epoch;
use crate::mutant::{self, Mutant};
use std::cmp::Ordering;

impl Agent {
    /// Leaving recovery in that epoch; none while it is not known which timeline that makes, or when it was made before.
    pub(super) fn promotion(&self, office: Epoch) -> Option<Task> {
        let group = self.group.as_ref()?;
        if mutant::on(Mutant::TwinTimelines) {
            return Some(Task::Promote { timeline: None });
        }
        if group.system_id.is_none() {
            let first = group.primary.as_ref() == Some(&self.me.instance);
            return first.then_some(Task::Promote { timeline: None });
        }
        let timeline = group.timeline_of(office);
        match timeline.map(|timeline| timeline.cmp(&self.postgres.seen.position.timeline)) {
            Some(Ordering::Greater) => Some(Task::Promote { timeline }),
            Some(Ordering::Equal) => None,
            Some(Ordering::Less) | None => Some(Task::Promote { timeline: None }),
        }
    }
}
