//! Votes, certificates, and the small values they share with everything else.

use super::MAX_WITNESSES;
use super::field::{
    ConvertError, at_most, epoch, few, micros, name, names, node, number, real_electorate, real_epoch,
    revision, span,
};
use crate::v1;
use regent_core::ids::{Lsn, NodeId, Position, Seq};
use regent_core::message::{Role, Solicit};
use regent_core::quorum::Electorate;
use regent_core::replication::Configuration;
use regent_core::vote::{Certificate, NoCertificate, Reason, Vote};

impl From<Seq> for v1::Seq {
    fn from(seq: Seq) -> v1::Seq {
        v1::Seq { incarnation: seq.incarnation, number: seq.number }
    }
}

impl From<v1::Seq> for Seq {
    fn from(seq: v1::Seq) -> Seq {
        Seq { incarnation: seq.incarnation, number: seq.number }
    }
}

impl From<Position> for v1::Position {
    fn from(position: Position) -> v1::Position {
        v1::Position {
            timeline: position.timeline,
            received: position.received.0,
            flushed: position.flushed.0,
            replayed: position.replayed.0,
        }
    }
}

impl From<v1::Position> for Position {
    fn from(position: v1::Position) -> Position {
        Position {
            timeline: position.timeline,
            received: Lsn(position.received),
            flushed: Lsn(position.flushed),
            replayed: Lsn(position.replayed),
        }
    }
}

impl From<Role> for v1::Role {
    fn from(role: Role) -> v1::Role {
        match role {
            Role::Preparing => v1::Role::Preparing,
            Role::Stopped => v1::Role::Stopped,
            Role::Standby => v1::Role::Standby,
            Role::Primary => v1::Role::Primary,
            Role::Refused => v1::Role::Refused,
        }
    }
}

/// The role a wire number stands for.
pub fn role(field: &str, got: i32) -> Result<Role, ConvertError> {
    let unknown = |_| ConvertError::new(field, "a role of 0 to 4", got);
    Ok(match v1::Role::try_from(got).map_err(unknown)? {
        v1::Role::Preparing => Role::Preparing,
        v1::Role::Stopped => Role::Stopped,
        v1::Role::Standby => Role::Standby,
        v1::Role::Primary => Role::Primary,
        v1::Role::Refused => Role::Refused,
    })
}

impl From<Reason> for v1::Reason {
    fn from(reason: Reason) -> v1::Reason {
        match reason {
            Reason::Silent => v1::Reason::Silent,
            Reason::PostgresDied => v1::Reason::PostgresDied,
            Reason::Switchover => v1::Reason::Switchover,
            Reason::Joined => v1::Reason::Joined,
            Reason::Reaffirmed => v1::Reason::Reaffirmed,
            Reason::Terms => v1::Reason::Terms,
            Reason::First => v1::Reason::First,
            Reason::PostgresHung => v1::Reason::PostgresHung,
        }
    }
}

/// The reason a wire number stands for.
pub fn reason(field: &str, got: i32) -> Result<Reason, ConvertError> {
    let unknown = |_| ConvertError::new(field, "a reason of 0 to 7", got);
    Ok(match v1::Reason::try_from(got).map_err(unknown)? {
        v1::Reason::Silent => Reason::Silent,
        v1::Reason::PostgresDied => Reason::PostgresDied,
        v1::Reason::Switchover => Reason::Switchover,
        v1::Reason::Joined => Reason::Joined,
        v1::Reason::Reaffirmed => Reason::Reaffirmed,
        v1::Reason::Terms => Reason::Terms,
        v1::Reason::First => Reason::First,
        v1::Reason::PostgresHung => Reason::PostgresHung,
    })
}

/// Ids for the wire.
pub(super) fn ids(electorate: Electorate) -> Vec<u64> {
    electorate.into_iter().map(|id| id.0).collect()
}

/// Names for the wire.
pub(super) fn texts<T: Into<String>>(names: Vec<T>) -> Vec<String> {
    names.into_iter().map(Into::into).collect()
}

impl From<Vote> for v1::Vote {
    fn from(vote: Vote) -> v1::Vote {
        v1::Vote {
            group: vote.group.into(),
            witness: vote.witness.0,
            floor: vote.floor.0,
            named: vote.named.into(),
            since: vote.since.0,
            rest: texts(vote.rest),
            seq: vote.seq.map(Into::into),
            ttl_us: micros(vote.ttl),
            basis: vote.basis.0,
            revision: vote.revision.0,
            electorate: ids(vote.electorate),
            reason: v1::Reason::from(vote.reason).into(),
            configuration: vote.configuration.map(Into::into),
        }
    }
}

impl From<Configuration> for v1::Configuration {
    fn from(of: Configuration) -> v1::Configuration {
        v1::Configuration {
            members: of.members.into_iter().map(Into::into).collect(),
            count: of.count.into(),
        }
    }
}

/// A configuration, where there is one.
pub(super) fn optional_configuration(
    of: Option<v1::Configuration>,
) -> Result<Option<Configuration>, ConvertError> {
    let convert = |of: v1::Configuration| {
        let members = names("configuration.members", of.members)?.into_iter().collect();
        Ok(Configuration { members, count: few("configuration.count", of.count)? })
    };
    of.map(convert).transpose()
}

impl TryFrom<v1::Vote> for Vote {
    type Error = ConvertError;
    fn try_from(vote: v1::Vote) -> Result<Vote, ConvertError> {
        let floor = real_epoch("floor", vote.floor)?;
        Ok(Vote {
            group: name("group", vote.group)?,
            witness: node("witness", vote.witness)?,
            floor,
            named: name("named", vote.named)?,
            since: epoch("since", number("since", vote.since, 0..=floor.0)?)?,
            rest: names("rest", vote.rest)?,
            seq: vote.seq.map(Into::into),
            ttl: span("ttl_us", vote.ttl_us)?,
            // A vote is cast strictly above what the log had decided.
            basis: epoch("basis", number("basis", vote.basis, 0..=floor.0 - 1)?)?,
            revision: revision("revision", vote.revision)?,
            electorate: real_electorate("electorate", vote.electorate)?,
            reason: reason("reason", vote.reason)?,
            configuration: optional_configuration(vote.configuration)?,
        })
    }
}

impl From<Certificate> for v1::Certificate {
    fn from(certificate: Certificate) -> v1::Certificate {
        v1::Certificate { votes: Vec::from(certificate).into_iter().map(Into::into).collect() }
    }
}

impl TryFrom<v1::Certificate> for Certificate {
    type Error = ConvertError;
    fn try_from(certificate: v1::Certificate) -> Result<Certificate, ConvertError> {
        at_most("votes", certificate.votes.len(), MAX_WITNESSES)?;
        let votes: Vec<Vote> = certificate
            .votes
            .into_iter()
            .map(|vote| Vote::try_from(vote).map_err(|error| error.within("votes")))
            .collect::<Result<_, _>>()?;
        Certificate::new(votes).map_err(undecided)
    }
}

fn undecided(why: NoCertificate) -> ConvertError {
    let (expected, got) = match why {
        NoCertificate::Empty => ("votes".to_owned(), "none".to_owned()),
        NoCertificate::Mixed => {
            ("votes for one group, epoch and name".to_owned(), "different ones".to_owned())
        }
        NoCertificate::Twice(id) => ("each witness once".to_owned(), format!("witness {id} twice")),
        NoCertificate::Minority { electorate, voters } => (
            format!("a majority of the nodes {}", listed(electorate)),
            format!("the votes of {}", listed(voters)),
        ),
    };
    ConvertError::new("votes", expected, got)
}

fn listed(ids: impl IntoIterator<Item = NodeId>) -> String {
    ids.into_iter().map(|id| id.to_string()).collect::<Vec<_>>().join(", ")
}

impl From<Solicit> for v1::Solicit {
    fn from(solicit: Solicit) -> v1::Solicit {
        v1::Solicit {
            group: solicit.group.into(),
            epoch: solicit.epoch.0,
            named: solicit.named.into(),
            revision: solicit.revision.0,
            reason: v1::Reason::from(solicit.reason).into(),
        }
    }
}

impl TryFrom<v1::Solicit> for Solicit {
    type Error = ConvertError;
    fn try_from(solicit: v1::Solicit) -> Result<Solicit, ConvertError> {
        Ok(Solicit {
            group: name("group", solicit.group)?,
            epoch: real_epoch("epoch", solicit.epoch)?,
            named: name("named", solicit.named)?,
            revision: revision("revision", solicit.revision)?,
            reason: reason("reason", solicit.reason)?,
        })
    }
}
