//! Who may take over, as the log has it, and under which mode.

use super::{Applied, Group, Rejected};
use crate::ids::{Epoch, InstanceName, Revision};
use crate::mutant::{self, Mutant};
use crate::replication::{Mode, Offer, Policy, check_numbers};
use std::collections::BTreeSet;

impl Group {
    pub(super) fn set_succession(
        &mut self,
        epoch: Epoch,
        revision: Revision,
        succession: &[InstanceName],
        offer: Option<&Offer>,
    ) -> Result<Applied, Rejected> {
        let stale = (epoch, revision) != (self.epoch, self.revision);
        if stale && !mutant::on(Mutant::SuccessionWithoutCas) {
            return Err(Rejected::Stale {
                group: self.name.clone(),
                expected: format!("{} at revision {}", self.epoch, self.revision),
                got: format!("{epoch} at revision {revision}"),
            });
        }
        let distinct: BTreeSet<_> = succession.iter().collect();
        let strangers = succession.iter().any(|name| !self.instances.contains_key(name));
        let primary = succession.iter().any(|name| Some(name) == self.primary.as_ref());
        if distinct.len() != succession.len() || strangers || primary {
            return Err(Rejected::BadSuccession { group: self.name.clone(), got: succession.to_vec() });
        }
        self.check_offer(succession, offer)?;
        // Not in `async`: there it says what a primary offered before, and is offered no more.
        let confirmed = offer.filter(|_| self.terms.mode != Mode::Async);
        let before = (self.offered, self.offered_under);
        let (offered, under) = confirmed.map_or(before, |offer| (offer.version, offer.tightened));
        let configuration = confirmed.map(Offer::configuration);
        if self.succession == succession && before == (offered, under) && self.configuration == configuration
        {
            return Ok(Applied::Unchanged);
        }
        self.succession = succession.to_vec();
        (self.offered, self.offered_under, self.configuration) = (offered, under, configuration);
        Ok(self.changed())
    }

    /// Whether what the mode promises holds for all in the succession: the primary has offered them since the mode became
    /// what it is, or a tighter one. In `async` nothing is promised.
    pub fn in_force(&self) -> bool {
        let taken = self.offered > 0 && self.configuration.is_some();
        self.terms.mode != Mode::Async && taken && self.offered_under == self.tightened
    }

    /// Whether that is the offer it took last, and nothing was taken since that is not of it.
    pub fn has_taken(&self, offer: &Offer) -> bool {
        let under = self.offered_under == offer.tightened;
        under && self.offered == offer.version && self.configuration.as_ref() == Some(&offer.configuration())
    }

    /// But in `async`, nobody enters the succession but by an offer of the primary, not older than the last (finding F3).
    fn check_offer(&self, succession: &[InstanceName], offer: Option<&Offer>) -> Result<(), Rejected> {
        let taken = offer.is_some_and(|offer| {
            offer.version >= self.offered && succession.iter().all(|name| offer.members.contains(name))
        });
        if self.terms.mode == Mode::Async || taken || mutant::on(Mutant::SuccessionBeyondOffer) {
            return Ok(());
        }
        Err(Rejected::NotOffered {
            group: self.name.clone(),
            expected: self.offered,
            got: offer.map_or(0, |offer| offer.version),
        })
    }

    /// The succession stays as it is until the primary offers another: until then a mode that is tighter is not in force.
    pub(super) fn set_mode(&mut self, mode: Mode, policy: Policy) -> Result<Applied, Rejected> {
        check_numbers(mode)?;
        let standbys = self.instances.len().saturating_sub(1);
        if mode.count() > standbys && mode.count() != self.terms.mode.count() {
            return Err(Rejected::BadTerms(format!(
                "group {} has {standbys} standbys, so a {} count must be between 1 and {standbys}, got {}",
                self.name,
                mode.kind(),
                mode.count()
            )));
        }
        if (self.terms.mode, self.terms.policy) == (mode, policy) {
            return Ok(Applied::Unchanged);
        }
        let turned = (self.terms.mode == Mode::Async) != (mode == Mode::Async);
        let tighter = mode.slack() < self.terms.mode.slack();
        (self.terms.mode, self.terms.policy) = (mode, policy);
        let applied = self.changed();
        if turned {
            // The version stays: an offer of before the change must not be taken for one after it.
            (self.mode_since, self.configuration) = (self.revision, None);
        }
        if tighter && !mutant::on(Mutant::TightenedAtOnce) {
            self.tightened = self.revision;
        }
        Ok(applied)
    }
}
