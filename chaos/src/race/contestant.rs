//! Who races: how each is called, what it is set to, and what can be asked of it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::auto_failover::AutoFailover;
use super::fault::Fault;
use super::installed::Peers;
use super::patroni::Patroni;
use super::regent::Regent;
use crate::cluster::land::Land;

/// How quick somebody is told to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speed {
    /// As it comes.
    Default,
    /// The least that it accepts, or that makes sense over these distances.
    Fastest,
}

/// Somebody, set to something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "they are called what they are")]
pub enum Kind {
    Patroni,
    PatroniFastest,
    PgAutoFailover,
    PgAutoFailoverFastest,
    Regent,
}

impl Kind {
    /// All of them, in the order of the table.
    pub const ALL: [Kind; 5] = [
        Kind::Patroni,
        Kind::PatroniFastest,
        Kind::PgAutoFailover,
        Kind::PgAutoFailoverFastest,
        Kind::Regent,
    ];

    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Kind::Patroni => "Patroni, defaults",
            Kind::PatroniFastest => "Patroni, fastest",
            Kind::PgAutoFailover => "pg_auto_failover, defaults",
            Kind::PgAutoFailoverFastest => "pg_auto_failover, fastest",
            Kind::Regent => "Regent",
        }
    }

    /// Whether it comes with `deploy/get-peers`.
    pub fn is_peer(self) -> bool {
        self != Kind::Regent
    }

    /// Starts it on this land, whole enough for its look to be asked. Where its coordinator cannot be moved, it is put where
    /// `fault` needs it.
    pub async fn start(
        self,
        land: &Arc<Land>,
        peers: Option<&Peers>,
        fault: Fault,
    ) -> anyhow::Result<Box<dyn Contestant>> {
        let peers = || peers.cloned().ok_or(super::installed::NotInstalled);
        Ok(match self {
            Kind::Patroni => Box::new(Patroni::start(land, peers()?, Speed::Default).await?),
            Kind::PatroniFastest => Box::new(Patroni::start(land, peers()?, Speed::Fastest).await?),
            Kind::PgAutoFailover => {
                Box::new(AutoFailover::start(land, peers()?, Speed::Default, fault).await?)
            }
            Kind::PgAutoFailoverFastest => {
                Box::new(AutoFailover::start(land, peers()?, Speed::Fastest, fault).await?)
            }
            Kind::Regent => Box::new(Regent::start(land).await?),
        })
    }
}

/// What it looks like at one moment.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// Region of the one primary; none also when there are several.
    pub primary: Option<usize>,
    /// Region of the coordinator's leader.
    pub leader: Option<usize>,
    /// What is missing until all is well; nothing if all is.
    pub missing: Option<String>,
}

impl Look {
    /// All is well, and everybody is where this fault needs him.
    pub fn is_ready(&self, fault: Fault, leader_moves: bool) -> bool {
        let led = !leader_moves || self.leader == Some(fault.leader());
        self.missing.is_none() && self.primary == Some(super::fault::HOME) && led
    }
}

/// Three Postgres, one in each region, and whoever keeps one of them writable. All calls return at once or within seconds;
/// whoever calls waits. Dropping it ends everything that it started.
pub trait Contestant {
    /// How it is.
    fn look(&mut self) -> anyhow::Result<Look>;

    /// Whether it stands as this fault needs it; else it has to be started anew.
    fn fits(&self, _fault: Fault) -> bool {
        true
    }

    /// Whether the coordinator's leader can be told where to be.
    fn leader_moves(&self) -> bool {
        true
    }

    /// Tells the primary, and the coordinator's leader if that can be told, to move to where this fault needs them; `look` says
    /// where they are.
    fn arrange(&mut self, fault: Fault, look: &Look) -> anyhow::Result<()>;

    /// Makes it happen, at home.
    fn strike(&mut self, fault: Fault) -> anyhow::Result<()>;

    /// Undoes it: what was stopped goes on, what was killed is started as after a reboot.
    fn undo(&mut self, fault: Fault) -> anyhow::Result<()>;

    /// Each Postgres, in the order of the regions: the same addresses from everywhere.
    fn postgres(&self) -> Vec<SocketAddr>;

    /// Runs SQL as the superuser.
    fn as_superuser(&self, region: usize, sql: &str) -> anyhow::Result<String>;

    /// Leaves the files of the run where they are, and says where.
    fn keep_files(&mut self) -> PathBuf;
}
