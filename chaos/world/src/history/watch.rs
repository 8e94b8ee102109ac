//! S6: a watch delivers every change of an assignment once, in order, or says that it was compacted; never silence.
//!
//! As certificates run ahead of the log (finding F18), this is to be read so: epochs strictly increase, and a change names
//! the epochs it jumps. So after each change the watcher knows of every epoch up to it, that it was told or jumped; and
//! what the log holds is among them.
//!
//! A watch that is interrupted goes on from the last epoch it was told. What was missed meanwhile comes as changes, or it
//! is said that it is compacted and the present state follows; the present state alone, in place of changes that were
//! missed, is silence.

use super::{Log, Violation};
use regent_core::ids::{Epoch, InstanceName};

/// The most jumped epochs that a change names: the last ones. More would not fit into a message.
pub const NAMED_AT_MOST: u64 = 1_024;

/// What one watcher saw of one group, in its order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// When.
    pub at: u64,
    /// What.
    pub what: What,
}

/// See [`Event`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum What {
    /// It began to watch: anew, or from the epoch after that one.
    Begun {
        /// The last epoch it was told before.
        from: Option<Epoch>,
    },
    /// The state at the beginning; epoch 0 and nobody: there is no primary yet.
    Present {
        /// The epoch.
        epoch: Epoch,
        /// Its primary.
        primary: Option<InstanceName>,
    },
    /// A change.
    Changed {
        /// The new epoch.
        epoch: Epoch,
        /// Its primary.
        primary: InstanceName,
        /// The epochs passed over.
        jumped: Vec<Epoch>,
    },
    /// What it missed is not kept any more; it begins anew.
    Compacted,
}

/// Checks what one watcher was told of one group against what the log holds in the end. `settled` is the epoch that it
/// must have been told of, if it was connected for long enough in the end: what is not told by then is silence.
pub fn check(events: &[Event], log: &Log, settled: Option<Epoch>) -> Vec<Violation> {
    let mut watcher = Watcher { log, last: Epoch(0), beginning: None, found: Vec::new() };
    for event in events {
        watcher.take(event);
    }
    let (at, last) = (events.last().map_or(0, |event| event.at), watcher.last);
    if let Some(settled) = settled.filter(|settled| last < *settled) {
        watcher.find(at, format!("epoch {settled} was never told, the last was {last}"));
    }
    watcher.found
}

/// How a watch begins, until it is told something.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Beginning {
    /// With whatever is present.
    Anew,
    /// With whatever is present after what was told, the rest being compacted.
    Compacted,
    /// With the changes after what was told; the present state if there is none.
    Resumed,
}

struct Watcher<'a> {
    log: &'a Log,
    /// The last epoch told; 0 while nothing was.
    last: Epoch,
    beginning: Option<Beginning>,
    found: Vec<Violation>,
}

impl Watcher<'_> {
    fn find(&mut self, at: u64, sentence: String) {
        self.found.push(Violation { at, sentence });
    }

    fn take(&mut self, event: &Event) {
        let at = event.at;
        match &event.what {
            What::Begun { from: None } => (self.last, self.beginning) = (Epoch(0), Some(Beginning::Anew)),
            What::Begun { from: Some(last) } => {
                (self.last, self.beginning) = (*last, Some(Beginning::Resumed));
            }
            What::Compacted => self.beginning = Some(Beginning::Compacted),
            What::Present { epoch, primary } => {
                self.present(at, *epoch);
                self.owned(at, *epoch, primary.as_ref());
            }
            What::Changed { epoch, primary, jumped } => {
                self.changed(at, *epoch, jumped);
                self.owned(at, *epoch, Some(primary));
            }
        }
    }

    fn present(&mut self, at: u64, epoch: Epoch) {
        let last = std::mem::replace(&mut self.last, epoch);
        match self.beginning.take() {
            None => self.find(at, format!("the present epoch {epoch} was told in the middle of a watch")),
            Some(Beginning::Anew) => {}
            Some(_) if epoch < last => {
                self.find(at, format!("the present epoch {epoch} was told after {last}"));
            }
            Some(Beginning::Resumed) if epoch > last => {
                self.find(
                    at,
                    format!("the present epoch {epoch} was told in place of the changes after {last}"),
                );
            }
            Some(_) => {}
        }
    }

    fn changed(&mut self, at: u64, epoch: Epoch, jumped: &[Epoch]) {
        self.beginning = None;
        let last = self.last;
        if epoch <= last {
            return self.find(at, format!("the change to epoch {epoch} was told after {last}"));
        }
        self.last = epoch;
        let first = epoch.0.saturating_sub(NAMED_AT_MOST).max(last.0 + 1);
        let between: Vec<Epoch> = (first..epoch.0).map(Epoch).collect();
        if between != jumped {
            let (between, jumped) = (listed(&between), listed(jumped));
            let sentence =
                format!("the change from epoch {last} to {epoch} jumps {between}, but it names {jumped}");
            self.find(at, sentence);
        }
        if let Some((missed, _)) = self.log.range(last.next()..Epoch(first)).next() {
            let sentence =
                format!("epoch {missed} is in the log, but the change from {last} to {epoch} hides it");
            self.find(at, sentence);
        }
    }

    fn owned(&mut self, at: u64, epoch: Epoch, primary: Option<&InstanceName>) {
        let Some(owner) = self.log.get(&epoch).filter(|owner| Some(*owner) != primary) else { return };
        let told = primary.map_or("nobody", InstanceName::as_str);
        self.find(at, format!("epoch {epoch} was told to be of {told}, in the log it is of {owner}"));
    }
}

fn listed(epochs: &[Epoch]) -> String {
    if epochs.is_empty() {
        return "none".to_owned();
    }
    epochs.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}
