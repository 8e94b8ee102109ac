//! The leader's proposals under way: each once at a time, and not at once again after it failed.

use regent_core::command::Command;
use regent_core::time::Time;
use std::collections::BTreeMap;
use std::time::Duration;

/// After the state refused it, it would refuse it again: the log must not fill with it.
const AFTER_REJECTION: Duration = Duration::from_secs(1);
/// After it did not get into the log.
const AFTER_FAILURE: Duration = Duration::from_millis(100);

/// What a proposal is about; two that are about the same are not made at once.
pub type Subject = String;

/// How a proposal ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It is in the state.
    Applied,
    /// The state refused it.
    Rejected,
    /// It did not get into the log, as far as known.
    Failed,
}

/// See above.
#[derive(Default)]
pub struct Proposals {
    /// `None`: under way. Else: not before then.
    barred: BTreeMap<Subject, Option<Time>>,
}

impl Proposals {
    /// Whether it may be made now; then it is under way.
    pub fn begin(&mut self, subject: &Subject, now: Time) -> bool {
        self.barred.retain(|_, until| until.is_none_or(|until| now < until));
        if self.barred.contains_key(subject) {
            return false;
        }
        self.barred.insert(subject.clone(), None);
        true
    }

    /// It has ended.
    pub fn end(&mut self, subject: &Subject, ending: Ending, now: Time) {
        let pause = match ending {
            Ending::Applied => {
                self.barred.remove(subject);
                return;
            }
            Ending::Rejected => AFTER_REJECTION,
            Ending::Failed => AFTER_FAILURE,
        };
        self.barred.insert(subject.clone(), Some(now + pause));
    }
}

/// What a command is about, in words that also stand in the log.
pub fn subject(command: &Command) -> Subject {
    match command {
        Command::SetNode { id, .. } => format!("node {id} makes itself known"),
        Command::CreateGroup { group, .. } => format!("group {group} is created"),
        Command::Register { group, instance, .. } => format!("group {group}: instance {instance} joins"),
        Command::Begin { group, primary, .. } => format!("group {group}: {primary} is the first primary"),
        Command::SetSystem { group, .. } => format!("group {group}: its database is known"),
        Command::SetSuccession { group, .. } => format!("group {group}: the succession changes"),
        Command::SetMode { group, .. } => format!("group {group}: the mode changes"),
        Command::SetDesiredElectorate { group, .. } => format!("group {group}: another electorate is wanted"),
        Command::SetDrained { region, .. } => format!("region {region}: whether it is drained"),
        Command::Record { certificate, .. } => {
            format!("group {}: epoch {} is recorded", certificate.group(), certificate.epoch())
        }
        Command::RecordTail { group, tail } => {
            format!("group {group}: what {} left behind in epoch {} is recorded", tail.instance, tail.epoch)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proposal_is_made_once_and_rests_after_it_failed() {
        let at = |ms: u64| Time(ms * 1_000_000);
        let mut proposals = Proposals::default();
        let subject = "x".to_owned();
        assert!(proposals.begin(&subject, at(0)));
        assert!(!proposals.begin(&subject, at(10_000)));
        proposals.end(&subject, Ending::Failed, at(0));
        assert!(!proposals.begin(&subject, at(99)));
        assert!(proposals.begin(&subject, at(100)));
        proposals.end(&subject, Ending::Rejected, at(100));
        assert!(!proposals.begin(&subject, at(1_099)));
        assert!(proposals.begin(&subject, at(1_100)));
        proposals.end(&subject, Ending::Applied, at(1_100));
        assert!(proposals.begin(&subject, at(1_100)));
    }
}
