//! What agents, witnesses and nodes say to each other, as the core understands it. The wire is in `proto`.

use crate::command::Instance;
use crate::ids::{Epoch, GroupName, InstanceName, Lsn, NodeId, Position, Revision, Seq};
use crate::quorum::Electorate;
use crate::replication::Offer;
use crate::state::Group;
use crate::tail::Tail;
use crate::vote::{Certificate, Reason, Vote};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// What an instance's Postgres is doing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// No data directory yet, or one being cloned or rewound.
    Preparing,
    /// The directory is there, Postgres is not running.
    Stopped,
    /// Running in recovery.
    Standby,
    /// Running, out of recovery.
    Primary,
    /// The directory cannot be used; a person has to look.
    Refused,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Role::Preparing => "preparing",
            Role::Stopped => "stopped",
            Role::Standby => "standby",
            Role::Primary => "primary",
            Role::Refused => "refused",
        })
    }
}

/// An agent's report of its instance to one witness, every 50 ms; the primary's is also its request for a promise.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Report {
    /// The group.
    pub group: GroupName,
    /// The instance.
    pub instance: InstanceName,
    /// Orders the reports.
    pub seq: Seq,
    /// The epoch whose lease is claimed, if one is.
    pub claims: Option<Epoch>,
    /// Whether the instance says it holds a lease now; only liveness rests on it.
    pub leased: bool,
    /// Whether it could take over at once: a standby that runs and has followed this group's primary.
    pub ready: bool,
    /// The highest decided epoch the agent knows.
    pub seen: Epoch,
    /// The last epoch the agent acted on as primary.
    pub acted: Epoch,
    /// No epoch up to this one will be acted on unless it was already (asked for by the leader).
    pub declined: Epoch,
    /// The highest epoch whose primary it followed.
    pub followed: Epoch,
    /// What Postgres is doing.
    pub role: Role,
    /// Whether its standby receives WAL at the moment.
    pub streaming: bool,
    /// Where it is.
    pub position: Position,
    /// Which database it holds, if any.
    pub system_id: Option<u64>,
    /// Whether Postgres confirmed that the gate is loaded and reads the lease file.
    pub gate_armed: bool,
    /// In `sync` and `quorum`: who has, and will have, every commit that the epoch claimed acknowledges.
    pub offer: Option<Offer>,
    /// A standby's: it receives nothing any more from a primary of an epoch below this one, and `position` was looked at
    /// since. 0 if that cannot be said.
    #[serde(default)]
    pub detached: Epoch,
    /// The round trip the agent measured to this witness, in microseconds; 0 before the first answer.
    pub rtt_us: u32,
    /// What stands in its way, in words; empty when nothing does.
    pub trouble: String,
    /// How far a long task is, in words; empty when none says so.
    pub progress: String,
    /// From which other standby it receives instead of from the primary, if it does.
    #[serde(default)]
    pub through: Option<InstanceName>,
    /// What an operator should know though it stands in nothing's way, in words; empty when there is nothing.
    #[serde(default)]
    pub warning: String,
    /// How far the last switchover, or restart, that was asked of it is.
    pub hand_over: Option<Progress>,
    /// How long its Postgres took to start the last time, if its agent saw that.
    #[serde(default)]
    pub started_in: Option<Duration>,
    /// Parameters that were changed and wait for a restart.
    #[serde(default)]
    pub pending_restart: Vec<String>,
    /// Whether the kernel, too, keeps its port to the lease.
    #[serde(default)]
    pub kernel_fence: KernelFence,
}

/// The fence in the kernel, beside an instance's gate. Nothing is decided on it.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub enum KernelFence {
    /// Not asked for.
    #[default]
    Off,
    /// Asked for, and it could be armed: there is no primary to fence.
    Ready,
    /// The primary's port is open only while its lease lasts.
    Armed,
    /// Asked for and not there, and why.
    NotArmed(String),
}

/// A switchover that is asked of a primary.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct HandOver {
    /// The epoch it ends.
    pub epoch: Epoch,
    /// Who shall follow.
    pub to: InstanceName,
    /// Tells one wish from another: a primary that has called one off does not take it up again.
    pub ticket: u64,
    /// How long the successor may take to come close, while commits still pass.
    pub wait: Duration,
    /// No change of primary: `to` itself, which is asked, is to stop and to start again as what it is.
    #[serde(default)]
    pub restart: bool,
}

/// How far a switchover is, as the primary that hands over reports it.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Progress {
    /// Which wish.
    pub ticket: u64,
    /// Who shall follow.
    pub to: InstanceName,
    /// How far.
    pub step: Step,
    /// Why it was called off; empty otherwise.
    pub why: String,
}

/// The steps of a switchover at the primary that hands over, in order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// A checkpoint, so that the stop is short; commits pass.
    Checkpoint,
    /// The successor comes close; commits pass.
    CatchUp,
    /// Commits wait; the successor receives the rest.
    Held,
    /// Postgres stops, having sent everything; commits wait.
    Stopping,
    /// A restart: Postgres starts again as what it was; commits wait, if that is the primary.
    Starting,
    /// The office is given up.
    Released,
    /// A restart: it is again what it was.
    Restarted,
    /// Nothing comes of it: it goes on as primary and commits pass, or the office was given up for another reason.
    CalledOff,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Step::Checkpoint => "checkpoint",
            Step::CatchUp => "catch_up",
            Step::Held => "held",
            Step::Stopping => "stopping",
            Step::Starting => "starting",
            Step::Released => "released",
            Step::Restarted => "restarted",
            Step::CalledOff => "called_off",
        })
    }
}

impl Step {
    /// Whether it is under way: neither given up nor called off.
    pub fn under_way(self) -> bool {
        !matches!(self, Step::Released | Step::Restarted | Step::CalledOff)
    }

    /// Whether commits wait for it.
    pub fn holds(self) -> bool {
        matches!(self, Step::Held | Step::Stopping | Step::Starting)
    }
}

/// The primary gives its lease up, its gate being closed and this being durable at the agent.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Release {
    /// The group.
    pub group: GroupName,
    /// Who gives up.
    pub instance: InstanceName,
    /// Which epoch.
    pub epoch: Epoch,
    /// Who shall follow; without it the heir.
    pub to: Option<InstanceName>,
    /// Why.
    pub reason: Reason,
}

/// What an agent says to a witness.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum ToWitness {
    /// The first word on a stream: who is there, and where its Postgres is reached.
    Hello {
        /// The group.
        group: GroupName,
        /// The instance.
        instance: InstanceName,
        /// Its place.
        at: Instance,
    },
    /// See [`Report`].
    Report(Box<Report>),
    /// See [`Release`].
    Release(Release),
    /// A certificate the agent holds.
    Show(Certificate),
    /// A tail of the log that only this instance had, and that was kept: to be written into the history.
    Tail {
        /// The group.
        group: GroupName,
        /// What was found.
        tail: Tail,
    },
}

/// What a witness says to an agent.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum ToAgent {
    /// The log's word about the group, as applied here: first on a stream, then after every change.
    Known(Box<Group>),
    /// A promise, in answer to the report `seq`.
    Promised {
        /// The group.
        group: GroupName,
        /// The epoch it is for.
        epoch: Epoch,
        /// The report it answers.
        seq: Seq,
        /// How long.
        ttl: Duration,
        /// The revision applied at the witness.
        revision: Revision,
    },
    /// No promise, or none was asked for: the report `seq` was heard all the same.
    Heard {
        /// The group.
        group: GroupName,
        /// The report it answers.
        seq: Seq,
        /// Why a promise that was asked for was refused.
        refused: Option<Refusal>,
        /// The witness's floor, if the instance named at it has said there that it is promoted; else 0.
        #[serde(default)]
        promoted: Epoch,
        /// How far the log of the primary reaches, as it last said to the witness; 0 if there is none that is heard.
        #[serde(default)]
        ahead: Lsn,
    },
    /// A vote that names the instance.
    Vote(Vote),
    /// A decision somebody holds.
    Decided(Certificate),
    /// The leader asks: never act on an epoch up to this one that you have not acted on.
    Decline {
        /// The group.
        group: GroupName,
        /// Up to and with this epoch.
        up_to: Epoch,
    },
    /// The leader asks the primary to hand over.
    HandOver {
        /// The group.
        group: GroupName,
        /// What is wished for.
        wish: HandOver,
    },
    /// Where another instance is, which receives nothing any more from a primary of an epoch below that one: passed on to
    /// the instance named at the witness's floor, which may have to gather such before it is promoted.
    Detached {
        /// The group.
        group: GroupName,
        /// The other.
        instance: InstanceName,
        /// The epoch.
        epoch: Epoch,
        /// Where it is.
        position: Position,
    },
    /// The history has that tail of the instance: it need not be told again.
    TailRecorded {
        /// The group.
        group: GroupName,
        /// The timeline it ends on.
        timeline: u32,
        /// Where it begins.
        from: Lsn,
    },
}

impl ToAgent {
    /// The group it is about.
    pub fn group(&self) -> &GroupName {
        match self {
            ToAgent::Known(group) => &group.name,
            ToAgent::Promised { group, .. }
            | ToAgent::Heard { group, .. }
            | ToAgent::Decline { group, .. }
            | ToAgent::HandOver { group, .. }
            | ToAgent::Detached { group, .. }
            | ToAgent::TailRecorded { group, .. } => group,
            ToAgent::Vote(vote) => &vote.group,
            ToAgent::Decided(certificate) => certificate.group(),
        }
    }
}

/// Why a witness did not promise.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Refusal {
    /// The epoch is below the floor.
    Stale {
        /// The lowest epoch this witness may still grant.
        floor: Epoch,
    },
    /// Neither the log as applied here nor a vote of this witness gives the epoch to that instance: show a certificate.
    NoWord,
    /// The floor was given to somebody else.
    NamedOther {
        /// To whom.
        named: InstanceName,
    },
    /// A promise to somebody else still runs.
    Promised {
        /// To whom.
        holder: InstanceName,
    },
    /// This witness started a moment ago and may have promised before: it takes no certificate's word yet.
    Young,
    /// A solicited vote waits for the running promise to end.
    Pending,
    /// This witness does not govern the group.
    NotInElectorate,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Stale { floor } => write!(f, "below floor {floor}"),
            Refusal::NoWord => f.write_str("no word for it here yet"),
            Refusal::NamedOther { named } => write!(f, "the floor is for {named}"),
            Refusal::Promised { holder } => write!(f, "a promise to {holder} runs"),
            Refusal::Young => f.write_str("witness just started"),
            Refusal::Pending => f.write_str("a solicited vote waits"),
            Refusal::NotInElectorate => f.write_str("not in the electorate"),
        }
    }
}

/// The leader asks a witness for a vote.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Solicit {
    /// The group.
    pub group: GroupName,
    /// The floor asked for.
    pub epoch: Epoch,
    /// Whom to name.
    pub named: InstanceName,
    /// The revision the leader decided on: a witness that is behind it does not answer (finding F2).
    pub revision: Revision,
    /// Why.
    pub reason: Reason,
}

/// Where a witness stands, told to the other nodes: for the leader's plan, the status and the reads.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Standing {
    /// The group.
    pub group: GroupName,
    /// The witness.
    pub witness: NodeId,
    /// The lowest epoch it may still grant.
    pub floor: Epoch,
    /// Whom it named for the floor, when the log has not decided that epoch here.
    pub named: Option<InstanceName>,
    /// The epoch applied here.
    pub epoch: Epoch,
    /// Its primary.
    pub primary: Option<InstanceName>,
    /// The revision applied here.
    pub revision: Revision,
    /// The electorate applied here.
    pub electorate: Electorate,
    /// Who holds this witness's promise now, and under which epoch.
    pub promised: Option<(InstanceName, Epoch)>,
    /// Whom it may name next, in its order.
    pub may_name: Vec<InstanceName>,
    /// The instances heard within the suspicion, with the round trip each measured, in microseconds.
    pub hears: Vec<(InstanceName, u32)>,
}

/// What a node says to another.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum ToNode {
    /// A vote cast.
    Vote(Vote),
    /// A decision somebody holds.
    Decided(Certificate),
    /// See [`Solicit`].
    Solicit(Solicit),
    /// See [`Standing`].
    Standing(Standing),
}
