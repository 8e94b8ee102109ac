//! What an agent must never forget.

use super::confirm::Confirmers;
use crate::ids::{Epoch, InstanceName};
use crate::replication::Configuration;
use crate::state::Group;
use crate::tail::Tail;
use crate::vote::{Certificate, Reason};
use serde::{Deserialize, Serialize};

/// What an agent must never forget.
#[derive(Clone, PartialEq, Eq, Hash, Default, Debug, Serialize, Deserialize)]
pub struct Durable {
    /// Grows with every start: answers to an earlier run's reports count for nothing (finding F5).
    pub incarnation: u64,
    /// The highest decision it knows.
    pub decided: Option<Decided>,
    /// The last epoch it acted on as primary.
    pub acted: Epoch,
    /// The certificate it acted on, to show to whoever has not heard; none when the log's word was enough.
    pub certificate: Option<Certificate>,
    /// No epoch up to this one will be acted on unless it was already.
    pub declined: Epoch,
    /// The last epoch it gave up: never claimed again (finding F4).
    pub released: Epoch,
    /// To whom, and why.
    pub release: Option<(Option<InstanceName>, Reason)>,
    /// The highest epoch whose primary it has streamed from.
    pub followed: Epoch,
    /// What it kept of its log before a rewind, and the history does not have yet.
    #[serde(default)]
    pub tails: Vec<Tail>,
    /// Whom commits of the epoch acted on wait for; none in `async`.
    #[serde(default)]
    pub confirmers: Option<Confirmers>,
    /// The version of the last offer it made, in whichever epoch and mode: no later one has the same or a lower one.
    #[serde(default)]
    pub offered: u64,
    /// The place that each instance has in Postgres's list of standbys, by the order in which they first came in: a place
    /// is never given to another, so that a place says who confirms, whatever list a process of Postgres goes by.
    #[serde(default)]
    pub places: Vec<InstanceName>,
}

/// A decision: by certificate, or by the log.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Decided {
    /// The epoch.
    pub epoch: Epoch,
    /// Its primary.
    pub primary: InstanceName,
    /// Since which epoch it is primary without interruption.
    pub since: Epoch,
    /// Whether it may lack commits before it is promoted that others have.
    #[serde(default)]
    pub gathers: bool,
}

impl Decided {
    /// What the log says of a group that has a primary.
    pub fn logged(group: &Group) -> Option<Decided> {
        let primary = group.primary.clone()?;
        let gathers = group.configuration.as_ref().is_some_and(Configuration::must_gather);
        Some(Decided { epoch: group.epoch, primary, since: group.since, gathers })
    }

    /// What a certificate decides.
    pub fn by(certificate: &Certificate) -> Decided {
        Decided {
            epoch: certificate.epoch(),
            primary: certificate.named().clone(),
            since: certificate.since(),
            gathers: certificate.configuration().1.is_some_and(Configuration::must_gather),
        }
    }
}

impl Durable {
    /// The highest decided epoch it knows: it never acts on one below.
    pub fn seen(&self) -> Epoch {
        self.decided.as_ref().map_or(Epoch(0), |decided| decided.epoch)
    }
}
