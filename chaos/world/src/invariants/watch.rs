//! S6, as far as the core goes: what a node comes to know, it can tell its watchers. No two nodes learn of different
//! primaries of one epoch, and when all is calm every node knows of the last. That a watcher then is told once, in order and
//! without a gap is done by `regentd`, tested there and judged with real processes (`history::watch`).
//!
//! Certificates run ahead of the log (finding F18): an event may jump epochs, and then says which came before it.

use super::epochs::Epochs;
use super::{Found, HostId, Theorem};
use regent_core::ids::{Epoch, NodeId};
use std::collections::BTreeMap;

/// What one watcher at each node was told of a group.
#[derive(Default)]
pub struct Watch {
    told: BTreeMap<NodeId, Epoch>,
}

impl Watch {
    /// A node knows of a decision: it tells its watcher, unless it has told of that or a later one. A watcher resumes
    /// where it was when the node restarts. Returns whether it was news.
    pub fn learns(
        &mut self,
        at: NodeId,
        epoch: Epoch,
        who: HostId,
        epochs: &mut Epochs,
        found: &mut Found,
    ) -> bool {
        let told = self.told.entry(at).or_default();
        if epoch <= *told {
            return false;
        }
        *told = epoch;
        epochs.owned(epoch, who, found);
        true
    }

    /// All is calm, and the log says `epoch`: who runs has told of it.
    pub fn settle(&self, running: impl Iterator<Item = NodeId>, epoch: Epoch, found: &mut Found) {
        for node in running {
            let told = self.told.get(&node).copied().unwrap_or_default();
            found.demand(Theorem::Watch, told >= epoch, |_| {
                format!("the watchers of node {node} heard of epoch {told} and not of {epoch}")
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_increase_name_one_primary_and_come_to_the_end() {
        let mut found = Found { names: vec!["A".to_owned(), "B".to_owned()], ..Found::default() };
        let (mut watch, mut epochs) = (Watch::default(), Epochs::default());
        assert!(watch.learns(NodeId(1), Epoch(1), 0, &mut epochs, &mut found));
        assert!(watch.learns(NodeId(1), Epoch(3), 1, &mut epochs, &mut found));
        assert!(!watch.learns(NodeId(1), Epoch(2), 1, &mut epochs, &mut found));
        watch.settle([NodeId(1)].into_iter(), Epoch(3), &mut found);
        assert_eq!(found.violations, []);
        watch.settle([NodeId(1), NodeId(2)].into_iter(), Epoch(3), &mut found);
        assert_eq!(found.violations.len(), 1);
        watch.learns(NodeId(2), Epoch(3), 0, &mut epochs, &mut found);
        assert_eq!(found.violations.len(), 2);
    }
}
