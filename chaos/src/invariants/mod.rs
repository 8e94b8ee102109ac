//! The promises of the design, each as one check over what was recorded. One file a theorem.
//!
//! What clients saw and what is in Postgres' own files decides wherever it can. Of who voted when, only the nodes and agents
//! can tell: S2 and S3 take their audit files for it, all of them, against each other.

pub mod accounted_rows;
pub mod epochs;
pub mod heals;
pub mod lost_within;
pub mod one_writable_primary;
pub mod promoted_after_votes;
pub mod promotions;
pub mod worked;

/// What tests are made of.
#[cfg(test)]
pub mod testing {
    use std::collections::BTreeMap;

    use regent_core::ids::{Epoch, InstanceName, Revision};
    use regent_core::state::Change;
    use regent_core::vote::Reason;

    use crate::history::{Outcome, Receipt, Write};
    use crate::timeline::Event;

    /// A write that was acknowledged.
    pub fn write(id: u64, instance: usize, timeline: u32, invoked_ns: u64, at_ns: u64) -> Write {
        let receipt = Receipt { at_ns, timeline, lsn: id * 100, xid: id + 700 };
        let outcome = Outcome::Acknowledged(receipt);
        Write { id, client: "us-west", instance, invoked_ns, outcome }
    }

    /// A line of an audit file.
    pub fn event(t_ns: u64, proc: &str, event: &str, epoch: u64, instance: &str) -> Event {
        let (epoch, instance) = (Some(epoch), Some(instance.to_owned()));
        Event { t_ns, proc: proc.to_owned(), event: event.to_owned(), epoch, instance, ..Event::default() }
    }

    /// A vote of a witness.
    pub fn vote(t_ns: u64, witness: u64, epoch: u64, instance: &str) -> Event {
        let proc = format!("regentd-{witness}");
        Event { witness: Some(witness), ..event(t_ns, &proc, "vote", epoch, instance) }
    }

    /// A change in the log.
    pub fn change(epoch: u64, primary: &str) -> Change {
        Change {
            revision: Revision(epoch),
            epoch: Epoch(epoch),
            primary: InstanceName::new(primary).unwrap(),
            since: Epoch(epoch),
            reason: Reason::Silent,
            voters: Vec::new(),
            positions: BTreeMap::new(),
            at_unix_ms: 0,
            tails: Vec::new(),
        }
    }
}
