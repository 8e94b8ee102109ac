//! What the witnesses have decided is written down: changes of primary, with what they left behind, and of the electorate.

use super::{Applied, Change, Group, HISTORY_LENGTH, Rejected};
use crate::ids::{InstanceName, Position};
use crate::mutant::{self, Mutant};
use crate::quorum::{Electorate, one_step};
use crate::tail::{TAILS_KEPT, Tail};
use crate::vote::{Certificate, Reason};
use std::collections::BTreeMap;

impl Group {
    pub(super) fn record(
        &mut self,
        certificate: &Certificate,
        electorate: Option<&Electorate>,
        positions: &BTreeMap<InstanceName, Position>,
        at_unix_ms: u64,
    ) -> Result<Applied, Rejected> {
        let epoch = certificate.epoch();
        if epoch <= self.epoch {
            return Err(Rejected::Stale {
                group: self.name.clone(),
                expected: format!("above {}", self.epoch),
                got: epoch.to_string(),
            });
        }
        self.instance(certificate.named())?;
        self.check_electorate(certificate)?;
        self.change_electorate(certificate, electorate)?;
        let stayed = self.primary.as_ref() == Some(certificate.named()) && certificate.since() <= self.since;
        self.since = if stayed { self.since } else { certificate.since() };
        self.epoch = epoch;
        self.primary = Some(certificate.named().clone());
        self.succession = certificate.rest();
        self.offered = 0;
        let applied = self.changed();
        self.remember(Change {
            revision: self.revision,
            epoch,
            primary: certificate.named().clone(),
            since: if stayed { self.since } else { epoch },
            reason: certificate.reason(),
            voters: certificate.votes().iter().map(|vote| vote.witness).collect(),
            positions: positions.clone(),
            at_unix_ms,
            tails: Vec::new(),
        });
        Ok(applied)
    }

    /// The votes must be those of the present electorate, or of the one before it (finding F11d: a certificate of the
    /// old electorate may have been acted on while the new one was being recorded).
    fn check_electorate(&self, certificate: &Certificate) -> Result<(), Rejected> {
        let (_, got) = certificate.basis();
        let near = *got == self.electorate || Some(got) == self.former_electorate.as_ref();
        if near || mutant::on(Mutant::RecordOfAnyElectorate) {
            return Ok(());
        }
        Err(Rejected::WrongElectorate {
            group: self.name.clone(),
            epoch: certificate.epoch(),
            expected: self.electorate.clone(),
            got: got.clone(),
        })
    }

    /// A new electorate: one witness more or fewer, the same primary, all votes cast on the present epoch.
    fn change_electorate(
        &mut self,
        certificate: &Certificate,
        electorate: Option<&Electorate>,
    ) -> Result<(), Rejected> {
        let Some(to) = electorate else { return Ok(()) };
        let same = self.primary.as_ref() == Some(certificate.named());
        let fresh = certificate.votes().iter().all(|vote| vote.basis == self.epoch);
        if to.is_empty() || !one_step(&self.electorate, to) || !same || !fresh {
            return Err(Rejected::BadElectorate { from: self.electorate.clone(), to: to.clone() });
        }
        self.former_electorate = Some(std::mem::replace(&mut self.electorate, to.clone()));
        if self.desired_electorate.as_ref() == Some(to) {
            self.desired_electorate = None;
        }
        Ok(())
    }

    /// Whether the history has that tail.
    pub fn knows_tail(&self, tail: &Tail) -> bool {
        self.history.iter().flat_map(|change| &change.tails).any(|known| known.is(tail))
    }

    pub(super) fn record_tail(&mut self, tail: &Tail) -> Result<Applied, Rejected> {
        self.instance(&tail.instance)?;
        if self.knows_tail(tail) {
            return Ok(Applied::Unchanged);
        }
        let stale = Rejected::Stale {
            group: self.name.clone(),
            expected: format!("a tail left behind by epoch {} or before", self.epoch),
            got: tail.epoch.to_string(),
        };
        // The change itself may be forgotten: then the oldest that is not is the nearest.
        let at = self.history.iter().rposition(|change| change.epoch <= tail.epoch).unwrap_or(0);
        let change = self.history.get_mut(at).filter(|_| tail.epoch <= self.epoch).ok_or(stale)?;
        change.tails.push(tail.clone());
        let extra = change.tails.len().saturating_sub(TAILS_KEPT);
        change.tails.drain(..extra);
        Ok(self.changed())
    }

    pub(super) fn remember(&mut self, change: Change) {
        if mutant::on(Mutant::ChangeForgotten) && change.reason != Reason::First {
            return;
        }
        self.history.push(change);
        let extra = self.history.len().saturating_sub(HISTORY_LENGTH);
        self.history.drain(..extra);
    }
}
