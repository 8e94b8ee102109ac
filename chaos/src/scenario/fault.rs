//! The faults by name: what each is told, and whether it lasts. How they are made is the work of `live::strike`.

use std::time::Duration;

use super::Class;
use crate::wan::terms::Change;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the table says what each is")]
pub enum Kind {
    KillRegion,
    KillPostgres,
    KillPostmaster,
    KillBackend,
    KillAgent,
    KillNode,
    FreezeRegion,
    FreezePostmaster,
    FreezeBackend,
    FreezeBackends,
    FreezeAgent,
    FreezeNode,
    Restart,
    ClockAhead,
    ClockBehind,
    ClocksStop,
    Cut,
    Link,
    Flap,
    Reset,
    PowerCut,
    FreezeDisk,
    FillDisk,
    FailDisk,
    SlowDisk,
    WipeNode,
    FlipBit,
    TearTail,
    FreezePostgres,
    CrashLoop,
    PauseReplay,
    FreezeStartup,
    LoseWal,
    TransferLeader,
    Switchover,
    Electorate,
    Starve,
    LimitMemory,
    NoDescriptors,
    BlockLogs,
    Watchers,
    SilentWatchers,
    SlowSenders,
    Garbage,
    Malformed,
    Oversized,
    Replay,
}

/// What a fault is told beside its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wants {
    /// Nothing.
    Nothing,
    /// `by`: a time.
    By,
    /// `count`: how many.
    Count,
    /// `link`: what the link is like.
    Link,
}

/// What a cluster must have been started with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing.
    Nothing,
    /// Every process under the shim of its region.
    Shim,
    /// A disk of its own in every region.
    Disk,
    /// Control groups that this user may make.
    Groups,
}

/// Which processes of a struck region can say nothing while it goes on: their audit files end there, whatever they were doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutes {
    /// None.
    Nobody,
    /// The agent.
    Agent,
    /// The node.
    Node,
    /// Both.
    Both,
}

impl Mutes {
    /// Whether the agent says nothing.
    pub fn agent(self) -> bool {
        matches!(self, Mutes::Agent | Mutes::Both)
    }

    /// Whether the node says nothing.
    pub fn node(self) -> bool {
        matches!(self, Mutes::Node | Mutes::Both)
    }
}

/// One row of the table.
pub struct Row {
    /// Which.
    pub kind: Kind,
    /// As scenarios write it.
    pub name: &'static str,
    /// Where it belongs.
    pub class: Class,
    /// In words, before the place: `cut: every packet vanishes`.
    pub words: &'static str,
    /// What it is told.
    pub wants: Wants,
    /// Whether it goes on until it is ended.
    pub lasts: bool,
    /// What the cluster must have for it.
    pub needs: Needs,
    /// Who is silenced by it.
    pub mutes: Mutes,
}

const fn row(class: Class, kind: Kind, name: &'static str, words: &'static str) -> Row {
    let (wants, needs, mutes) = (Wants::Nothing, Needs::Nothing, Mutes::Nobody);
    Row { kind, name, class, words, wants, lasts: false, needs, mutes }
}

impl Row {
    const fn lasting(self) -> Row {
        Row { lasts: true, ..self }
    }

    const fn wanting(self, wants: Wants) -> Row {
        Row { wants, ..self }
    }

    const fn muting(self, mutes: Mutes) -> Row {
        Row { mutes, ..self }
    }

    const fn needing(self, needs: Needs) -> Row {
        Row { needs, ..self }
    }
}

/// All of them.
pub const TABLE: &[Row] = {
    use Class::{Clock, Coordinator, Disk, Interface, Network, Postgres, Process, Resources};
    &[
        row(Process, Kind::KillRegion, "kill-region", "region lost: links cut, everything killed")
            .lasting()
            .muting(Mutes::Both),
        row(Process, Kind::KillPostgres, "kill-postgres", "Postgres killed"),
        row(Process, Kind::KillPostmaster, "kill-postmaster", "postmaster killed"),
        row(Process, Kind::KillBackend, "kill-backend", "one backend killed"),
        row(Process, Kind::KillAgent, "kill-agent", "agent killed").lasting().muting(Mutes::Agent),
        row(Process, Kind::KillNode, "kill-node", "node killed").lasting().muting(Mutes::Node),
        row(Process, Kind::FreezeRegion, "freeze-region", "every process stopped")
            .lasting()
            .muting(Mutes::Both),
        row(Process, Kind::FreezePostmaster, "freeze-postmaster", "postmaster stopped").lasting(),
        row(Process, Kind::FreezeBackend, "freeze-backend", "one backend stopped").lasting(),
        row(Process, Kind::FreezeBackends, "freeze-backends", "every backend stopped").lasting(),
        row(Process, Kind::FreezeAgent, "freeze-agent", "agent stopped").lasting().muting(Mutes::Agent),
        row(Process, Kind::FreezeNode, "freeze-node", "node stopped").lasting().muting(Mutes::Node),
        row(Process, Kind::Restart, "restart", "node and agent ended and started"),
        row(Clock, Kind::ClockAhead, "clock-ahead", "wall clock ahead")
            .wanting(Wants::By)
            .lasting()
            .needing(Needs::Shim),
        row(Clock, Kind::ClockBehind, "clock-behind", "wall clock behind")
            .wanting(Wants::By)
            .lasting()
            .needing(Needs::Shim),
        row(Clock, Kind::ClocksStop, "clocks-stop", "all clocks stand still")
            .lasting()
            .muting(Mutes::Both)
            .needing(Needs::Shim),
        row(Network, Kind::Cut, "cut", "nothing passes").lasting(),
        row(Network, Kind::Link, "link", "links").wanting(Wants::Link).lasting(),
        row(Network, Kind::Flap, "flap", "cut and healed in turn").wanting(Wants::By).lasting(),
        row(Network, Kind::Reset, "reset", "every connection with other regions reset"),
        row(Disk, Kind::PowerCut, "power-cut", "power lost, with what is not flushed")
            .lasting()
            .muting(Mutes::Both)
            .needing(Needs::Disk),
        row(Disk, Kind::FreezeDisk, "freeze-disk", "disk takes no write").lasting().needing(Needs::Disk),
        row(Disk, Kind::FillDisk, "fill-disk", "disk full").lasting().needing(Needs::Disk),
        row(Disk, Kind::FailDisk, "fail-disk", "flushes fail, once for each file")
            .lasting()
            .needing(Needs::Disk),
        row(Disk, Kind::SlowDisk, "slow-disk", "every flush of Postgres slower")
            .wanting(Wants::By)
            .lasting()
            .needing(Needs::Shim),
        row(Disk, Kind::WipeNode, "wipe-node", "node comes back without its files").lasting(),
        row(Disk, Kind::FlipBit, "flip-bit", "node comes back with a bit turned in its files").lasting(),
        row(Disk, Kind::TearTail, "tear-tail", "node comes back without the last 4 KiB of its files")
            .lasting(),
        row(Postgres, Kind::FreezePostgres, "freeze-postgres", "Postgres accepts and never answers")
            .lasting(),
        row(Postgres, Kind::CrashLoop, "crash-loop", "Postgres killed whenever it starts").lasting(),
        row(Postgres, Kind::PauseReplay, "pause-replay", "replay paused").lasting(),
        row(
            Postgres,
            Kind::FreezeStartup,
            "freeze-startup",
            "startup process stopped: no replay, no end of a promotion",
        )
        .lasting(),
        row(Postgres, Kind::LoseWal, "lose-wal", "Postgres and agent killed, and started without its WAL"),
        row(Coordinator, Kind::TransferLeader, "transfer-leader", "Raft leadership moved there"),
        row(Coordinator, Kind::Switchover, "switchover", "primary moved there on purpose"),
        row(Coordinator, Kind::Electorate, "electorate", "nodes that govern the group from now on"),
        row(Resources, Kind::Starve, "starve", "% of one processor for all")
            .wanting(Wants::Count)
            .lasting()
            .needing(Needs::Groups),
        row(Resources, Kind::LimitMemory, "limit-memory", "MiB of memory for all beside what they have")
            .wanting(Wants::Count)
            .lasting()
            .needing(Needs::Groups),
        row(Resources, Kind::NoDescriptors, "no-descriptors", "node and agent can open nothing more")
            .lasting(),
        row(Resources, Kind::BlockLogs, "block-logs", "nobody reads the logs of node and agent").lasting(),
        row(Interface, Kind::Watchers, "watchers", "watchers come at once, again and again")
            .wanting(Wants::Count)
            .lasting(),
        row(Interface, Kind::SilentWatchers, "silent-watchers", "watchers that never read")
            .wanting(Wants::Count)
            .lasting(),
        row(Interface, Kind::SlowSenders, "slow-senders", "callers that send a byte at a time")
            .wanting(Wants::Count)
            .lasting(),
        row(Interface, Kind::Garbage, "garbage", "bytes that are no protocol").lasting(),
        row(Interface, Kind::Malformed, "malformed", "messages with wrong fields").lasting(),
        row(Interface, Kind::Oversized, "oversized", "messages that are too large").lasting(),
        row(Interface, Kind::Replay, "replay", "votes of old epochs, sent again").lasting(),
    ]
};

/// A fault with what it is told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fault {
    /// Which.
    pub kind: Kind,
    /// How long or how far, where that is wanted.
    pub by: Duration,
    /// How many, where that is wanted.
    pub count: u32,
    /// What the link is like, where that is wanted.
    pub link: Change,
}

impl Fault {
    /// One that is told nothing.
    pub fn plain(kind: Kind) -> Fault {
        Fault { kind, by: Duration::ZERO, count: 0, link: Change::default() }
    }

    /// Its row.
    pub fn row(&self) -> &'static Row {
        TABLE.iter().find(|row| row.kind == self.kind).expect("every kind has a row: a unit test looks")
    }

    /// In words.
    pub fn words(&self) -> String {
        let Row { words, wants, .. } = self.row();
        match wants {
            Wants::Nothing => (*words).to_owned(),
            Wants::By => format!("{words} by {}", humantime::format_duration(self.by)),
            Wants::Count => format!("{} {words}", self.count),
            Wants::Link => format!("{words}: {}", self.link),
        }
    }
}

/// The row of a name.
pub fn named(name: &str) -> Option<&'static Row> {
    TABLE.iter().find(|row| row.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_kind_has_one_row_and_one_name() {
        let kinds: BTreeSet<Kind> = TABLE.iter().map(|row| row.kind).collect();
        let names: BTreeSet<&str> = TABLE.iter().map(|row| row.name).collect();
        // The last kind of the enum: one more than its number are there.
        assert_eq!((kinds.len(), names.len()), (TABLE.len(), TABLE.len()));
        assert_eq!(TABLE.len(), Kind::Replay as usize + 1);
    }
}
