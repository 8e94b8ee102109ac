//! Votes and certificates: what a witness says durably, and what a majority of them decides.

use crate::ids::{Epoch, GroupName, InstanceName, NodeId, Revision, Seq};
use crate::mutant::{self, Mutant};
use crate::quorum::{Electorate, is_majority, majority};
use crate::replication::Configuration;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// Why a vote was cast. The same words stand in log line, history and status.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Nothing was heard from the primary for the suspicion.
    Silent,
    /// The primary's Postgres died and its agent gave the lease up.
    PostgresDied,
    /// A planned change.
    Switchover,
    /// Another witness had voted so.
    Joined,
    /// The Raft leader asked, to go on after votes that decided nothing.
    Reaffirmed,
    /// The Raft leader asked, to change the electorate or the terms.
    Terms,
    /// The first primary of the group.
    First,
    /// The primary's Postgres ran and committed nothing any more, and its agent gave the lease up.
    PostgresHung,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Reason::Silent => "primary silent",
            Reason::PostgresDied => "Postgres died",
            Reason::Switchover => "switchover",
            Reason::Joined => "joined another witness",
            Reason::Reaffirmed => "reaffirmed by the leader",
            Reason::Terms => "electorate or terms changed",
            Reason::First => "first primary",
            Reason::PostgresHung => "Postgres hung",
        })
    }
}

/// One witness's durable word: no epoch below `floor` again, and `floor` only for the one it names.
///
/// It is also a promise of `ttl` to the named instance, in answer to the report `seq`: so a certificate is a first
/// lease. `seq` is pinned when the vote is cast and never refreshed when it is sent again (finding F6).
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Vote {
    /// The group it is about.
    pub group: GroupName,
    /// Who votes.
    pub witness: NodeId,
    /// The epoch it is for, and the lowest this witness may still grant.
    pub floor: Epoch,
    /// The instance that may be primary of it.
    pub named: InstanceName,
    /// From this epoch on the voter knows of no other primary than the named instance: so one that was primary in it
    /// or later goes on without interruption.
    pub since: Epoch,
    /// Who may follow the named instance.
    pub rest: Vec<InstanceName>,
    /// The report of the named instance that the promise in this vote answers, if the witness had heard one.
    pub seq: Option<Seq>,
    /// How long that promise lasts.
    pub ttl: Duration,
    /// The epoch applied from the log at the voter.
    pub basis: Epoch,
    /// The revision applied from the log at the voter.
    pub revision: Revision,
    /// The electorate of the basis.
    pub electorate: Electorate,
    /// The configuration applied from the log at the voter: who is named goes by that of the highest revision.
    #[serde(default)]
    pub configuration: Option<Configuration>,
    /// Why.
    pub reason: Reason,
}

/// Votes of a majority with one floor, naming one instance: the decision.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "Vec<Vote>", into = "Vec<Vote>")]
pub struct Certificate {
    votes: Vec<Vote>,
}

/// Why a set of votes is no certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoCertificate {
    /// No vote at all.
    #[error("a certificate needs votes, got none")]
    Empty,
    /// The votes are about different things.
    #[error("a certificate's votes must share group, epoch and name")]
    Mixed,
    /// A witness stands in it twice.
    #[error("witness {0} stands twice in the certificate")]
    Twice(NodeId),
    /// Too few.
    #[error("a certificate needs a majority of the electorate {electorate:?}, got the votes of {voters:?}")]
    Minority {
        /// The electorate of the highest basis among the votes.
        electorate: Electorate,
        /// Who voted.
        voters: Vec<NodeId>,
    },
}

impl Certificate {
    /// Checks that the votes decide. The electorate that counts is that of the highest basis among them (finding F8).
    pub fn new(mut votes: Vec<Vote>) -> Result<Certificate, NoCertificate> {
        votes.sort_by_key(|vote| vote.witness);
        let first = votes.first().ok_or(NoCertificate::Empty)?;
        let same =
            |vote: &Vote| (&vote.group, vote.floor, &vote.named) == (&first.group, first.floor, &first.named);
        if !votes.iter().all(same) {
            return Err(NoCertificate::Mixed);
        }
        if let Some(pair) = votes.windows(2).find(|pair| pair[0].witness == pair[1].witness) {
            return Err(NoCertificate::Twice(pair[0].witness));
        }
        let electorate = highest(&votes).electorate.clone();
        let voters: Vec<NodeId> = votes.iter().map(|vote| vote.witness).collect();
        if !is_majority(&electorate, &voters) && !mutant::on(Mutant::MinorityDecides) {
            return Err(NoCertificate::Minority { electorate, voters });
        }
        Ok(Certificate { votes })
    }

    /// The votes, by witness.
    pub fn votes(&self) -> &[Vote] {
        &self.votes
    }

    /// The group it decides for.
    pub fn group(&self) -> &GroupName {
        &self.votes[0].group
    }

    /// The epoch it decides.
    pub fn epoch(&self) -> Epoch {
        self.votes[0].floor
    }

    /// The primary of that epoch.
    pub fn named(&self) -> &InstanceName {
        &self.votes[0].named
    }

    /// Since which epoch the named instance is primary without interruption: a majority of the voters know of nobody
    /// else from there on, so, as any two majorities meet, nobody else was decided.
    pub fn since(&self) -> Epoch {
        let (_, electorate) = self.basis();
        let known = self.votes.iter().filter(|vote| electorate.contains(&vote.witness));
        let mut since: Vec<Epoch> = known.map(|vote| vote.since).collect();
        since.sort_unstable();
        since.get(majority(electorate.len()) - 1).copied().unwrap_or(self.epoch())
    }

    /// The highest basis among the votes and its electorate.
    pub fn basis(&self) -> (Epoch, &Electorate) {
        let vote = highest(&self.votes);
        (vote.basis, &vote.electorate)
    }

    /// The configuration that the voter with the highest revision has applied, and that revision.
    pub fn configuration(&self) -> (Revision, Option<&Configuration>) {
        let vote = highest(&self.votes);
        (vote.revision, vote.configuration.as_ref())
    }

    /// Who may follow: those that stand in every vote's rest, in the order of the first. Any two majorities share a
    /// voter, so the intersection of one lies inside the union of every other.
    pub fn rest(&self) -> Vec<InstanceName> {
        let in_all = |name: &&InstanceName| self.votes.iter().all(|vote| vote.rest.contains(name));
        self.votes[0].rest.iter().filter(in_all).cloned().collect()
    }

    /// The reason of the first voter that did not merely join another.
    pub fn reason(&self) -> Reason {
        let own = self.votes.iter().map(|vote| vote.reason).find(|reason| *reason != Reason::Joined);
        own.unwrap_or(Reason::Joined)
    }
}

impl TryFrom<Vec<Vote>> for Certificate {
    type Error = NoCertificate;
    fn try_from(votes: Vec<Vote>) -> Result<Self, NoCertificate> {
        Certificate::new(votes)
    }
}

impl From<Certificate> for Vec<Vote> {
    fn from(certificate: Certificate) -> Vec<Vote> {
        certificate.votes
    }
}

fn highest(votes: &[Vote]) -> &Vote {
    if mutant::on(Mutant::OldElectorateDecides) {
        return &votes[0];
    }
    // The caller has at least one vote; the first wins a tie, so the result does not depend on who asks.
    votes.iter().fold(&votes[0], |best, vote| {
        if (vote.basis, vote.revision) > (best.basis, best.revision) { vote } else { best }
    })
}
