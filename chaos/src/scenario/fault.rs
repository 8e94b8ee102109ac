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
    KillAgent,
    KillNode,
    FreezeRegion,
    FreezePostmaster,
    FreezeBackends,
    FreezeAgent,
    FreezeNode,
    Restart,
    ClocksStop,
    Cut,
    Link,
    Flap,
    FreezePostgres,
    CrashLoop,
    PauseReplay,
    TransferLeader,
    Switchover,
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
    use Class::{Clock, Coordinator, Interface, Network, Postgres, Process};
    &[
        row(Process, Kind::KillRegion, "kill-region", "region lost: links cut, everything killed")
            .lasting()
            .muting(Mutes::Both),
        row(Process, Kind::KillPostgres, "kill-postgres", "Postgres killed"),
        row(Process, Kind::KillPostmaster, "kill-postmaster", "postmaster killed"),
        row(Process, Kind::KillAgent, "kill-agent", "agent killed").lasting().muting(Mutes::Agent),
        row(Process, Kind::KillNode, "kill-node", "node killed").lasting().muting(Mutes::Node),
        row(Process, Kind::FreezeRegion, "freeze-region", "every process stopped")
            .lasting()
            .muting(Mutes::Both),
        row(Process, Kind::FreezePostmaster, "freeze-postmaster", "postmaster stopped").lasting(),
        row(Process, Kind::FreezeBackends, "freeze-backends", "every backend stopped").lasting(),
        row(Process, Kind::FreezeAgent, "freeze-agent", "agent stopped").lasting().muting(Mutes::Agent),
        row(Process, Kind::FreezeNode, "freeze-node", "node stopped").lasting().muting(Mutes::Node),
        row(Process, Kind::Restart, "restart", "node and agent ended and started"),
        row(Clock, Kind::ClocksStop, "clocks-stop", "all clocks stand still")
            .lasting()
            .muting(Mutes::Both)
            .needing(Needs::Shim),
        row(Network, Kind::Cut, "cut", "nothing passes").lasting(),
        row(Network, Kind::Link, "link", "links").wanting(Wants::Link).lasting(),
        row(Network, Kind::Flap, "flap", "cut and healed in turn").wanting(Wants::By).lasting(),
        row(Postgres, Kind::FreezePostgres, "freeze-postgres", "Postgres accepts and never answers")
            .lasting(),
        row(Postgres, Kind::CrashLoop, "crash-loop", "Postgres killed whenever it starts").lasting(),
        row(Postgres, Kind::PauseReplay, "pause-replay", "replay paused").lasting(),
        row(Coordinator, Kind::TransferLeader, "transfer-leader", "Raft leadership moved there"),
        row(Coordinator, Kind::Switchover, "switchover", "primary moved there on purpose"),
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
