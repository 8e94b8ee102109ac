//! What is explored: which clocks, which faults, which letters are the adversary's.

use crate::clock::Clock;
use crate::world::Faults;
use std::time::Duration;

/// How long a promise lasts in every configuration.
pub const TTL: Duration = Duration::from_millis(200);

/// What becomes of letters of one kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Delivery {
    /// They come at once.
    AtOnce,
    /// They come whenever the adversary likes, as often as it likes, or never.
    Free,
    /// They never come.
    Never,
}

/// What becomes of the letters, by kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Letters {
    /// Reports that claim a lease. Those of standbys always come at once.
    pub claims: Delivery,
    /// Promises.
    pub answers: Delivery,
    /// Votes, to the instance they name.
    pub votes: Delivery,
    /// Votes, to other witnesses.
    pub ballots: Delivery,
    /// Certificates, to agents and witnesses.
    pub decisions: Delivery,
    /// The log's word, to agents.
    pub word: Delivery,
    /// Releases.
    pub releases: Delivery,
}

impl Letters {
    /// Nothing is lost or late.
    pub const ALL_AT_ONCE: Letters = Letters {
        claims: Delivery::AtOnce,
        answers: Delivery::AtOnce,
        votes: Delivery::AtOnce,
        ballots: Delivery::AtOnce,
        decisions: Delivery::AtOnce,
        word: Delivery::AtOnce,
        releases: Delivery::AtOnce,
    };
}

/// A set of histories.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its name.
    pub name: &'static str,
    /// What it covers, in words.
    pub covers: &'static str,
    /// How many nodes there are; the first three govern the group at the beginning.
    pub nodes: usize,
    /// The highest epoch that is looked at.
    pub epochs: u64,
    /// How many ticks a history lasts.
    pub ticks: u64,
    /// A tick, in nanoseconds of real time.
    pub tick: u64,
    /// How long a witness hears nothing before it votes; not shorter than a promise.
    pub suspicion: Duration,
    /// The clocks: those of the nodes, then those of the agents; each set is the beginning of histories of its own.
    pub clocks: Vec<Vec<Clock>>,
    /// What becomes of the letters.
    pub letters: Letters,
    /// How many reports on the same way stay deliverable: the last, or older ones as well, after newer ones too.
    pub reports: usize,
    /// What may go wrong, and how often.
    pub faults: Faults,
    /// What one who thinks it leads may ask every witness for, at any time: epoch and instance.
    pub solicits: Vec<(u64, usize)>,
    /// What one who thinks it leads may ask every agent to decline, at any time.
    pub declines: Vec<u64>,
    /// Whether decisions are recorded in the log, and applied at each node whenever the adversary likes.
    pub records: bool,
    /// The electorates that one who thinks it leads may try to record with a decision, legal or not.
    pub electorates: Vec<Vec<usize>>,
    /// One of so many states is continued fairly to see whether it is a wedge; 0: none.
    pub wedge_sample: u64,
}

const TICK: u64 = 100_000_000;
const A: usize = 0;
const B: usize = 1;
const C: usize = 2;

/// The clocks of the nodes wrong by so much, those of the agents by so much, in millionths.
fn clocks(nodes: &[i64], agents: [i64; 3]) -> Vec<Clock> {
    nodes.iter().chain(&agents).map(|ppm| Clock { ppm: *ppm }).collect()
}

/// Nothing goes wrong but what the adversary does with claims and votes; the others differ from it.
fn plain(name: &'static str, covers: &'static str) -> Config {
    Config {
        name,
        covers,
        nodes: 3,
        epochs: 3,
        ticks: 4,
        tick: TICK,
        suspicion: TTL,
        clocks: vec![clocks(&[0; 3], [0; 3])],
        letters: Letters {
            claims: Delivery::Free,
            answers: Delivery::AtOnce,
            votes: Delivery::Free,
            ballots: Delivery::Never,
            decisions: Delivery::AtOnce,
            word: Delivery::AtOnce,
            releases: Delivery::Free,
        },
        reports: 1,
        faults: Faults::default(),
        solicits: Vec::new(),
        declines: Vec::new(),
        records: false,
        electorates: Vec::new(),
        wedge_sample: 512,
    }
}

/// Only what votes decide: a claim is never heard, so a lease lasts as long as the votes promise.
fn votes_only() -> Letters {
    let Config { letters, .. } = plain("", "");
    Letters { claims: Delivery::Never, ..letters }
}

/// All there are.
pub fn configurations() -> Vec<Config> {
    vec![
        silence(),
        late_claims(),
        drift(),
        witness_restarts(),
        agent_restarts(),
        releases(),
        chains(),
        stale_leaders(),
        split_votes(),
        lagging_logs(),
        electorates(),
        electorates_in_one_step(),
        declines(),
    ]
}

fn silence() -> Config {
    let mut config = plain(
        "silence",
        "claims, votes, ballots and certificates lost, doubled, late and in any order; the primary voted out and back",
    );
    config.letters.ballots = Delivery::Free;
    config.letters.decisions = Delivery::Free;
    config
}

fn late_claims() -> Config {
    let mut config = plain(
        "late-claims",
        "claims and promises lost, doubled and overtaken by newer ones; a primary claims, falls silent, is voted out",
    );
    config.ticks = 3;
    config.epochs = 2;
    config.reports = 2;
    config.letters.answers = Delivery::Free;
    config.letters.votes = Delivery::AtOnce;
    config
}

/// A little less than half a promise is a tick: two of them end it on a fast clock and on no other.
fn drift() -> Config {
    let mut config = plain(
        "drift",
        "the clocks of witnesses and holders slow, exact and fast, as far apart as the bound allows",
    );
    config.tick = 99_750_000;
    config.ticks = 5;
    config.clocks = vec![
        clocks(&[5_000; 3], [-5_000; 3]),
        clocks(&[-5_000; 3], [5_000; 3]),
        clocks(&[5_000, 0, -5_000], [-5_000, 5_000, 0]),
    ];
    config.letters.votes = Delivery::AtOnce;
    config
}

fn witness_restarts() -> Config {
    let mut config = plain(
        "witness-restarts",
        "two witnesses restart, at any moment, while one who thinks it leads asks for votes for B and C",
    );
    config.ticks = 3;
    config.faults.node_restarts = 2;
    config.solicits = vec![(2, B), (3, C)];
    config
}

fn agent_restarts() -> Config {
    let mut config = plain(
        "agent-restarts",
        "an agent restarts, at any moment; promises and claims lost, doubled and late, across the restart",
    );
    config.ticks = 3;
    config.epochs = 2;
    config.faults.agent_restarts = 1;
    config.letters.answers = Delivery::Free;
    config
}

fn releases() -> Config {
    let mut config = plain(
        "releases",
        "a Postgres dies, a primary hands over, an agent restarts in between; releases lost, doubled and late",
    );
    config.ticks = 3;
    config.faults = Faults { agent_restarts: 1, deaths: 1, hand_overs: 1, ..Faults::default() };
    config
}

fn chains() -> Config {
    let mut config = plain(
        "chains",
        "after B was voted for, and after it was primary, one who thinks it leads asks every witness for A",
    );
    config.letters = Letters { votes: Delivery::AtOnce, ..votes_only() };
    config.epochs = 4;
    config.ticks = 6;
    config.solicits = vec![(3, A), (4, A)];
    config
}

fn stale_leaders() -> Config {
    let mut config = plain(
        "stale-leaders",
        "two who think they lead ask every witness for anybody in any of three epochs; leases rest on votes alone",
    );
    config.letters = Letters { votes: Delivery::AtOnce, ..votes_only() };
    config.epochs = 4;
    // A promise is over before its holder counts as silent: votes are asked for in between.
    config.suspicion = Duration::from_millis(300);
    config.solicits = vec![(2, B), (2, C), (3, A), (3, B), (3, C), (4, A), (4, C)];
    config
}

fn split_votes() -> Config {
    let mut config = plain(
        "split-votes",
        "witnesses name different instances, hear of each other's votes late or never, and of certificates as well",
    );
    config.letters = Letters { ballots: Delivery::Free, decisions: Delivery::Free, ..votes_only() };
    config.solicits = vec![(2, B), (2, C), (3, C)];
    config
}

fn lagging_logs() -> Config {
    let mut config = plain(
        "lagging-logs",
        "decisions recorded late, twice or from a stale leader, and applied by each witness at its own pace",
    );
    config.letters = votes_only();
    config.epochs = 4;
    config.records = true;
    config.solicits = vec![(2, B), (3, C), (4, A)];
    config
}

fn electorates() -> Config {
    let mut config = plain(
        "electorates",
        "the electorate grows by a witness and loses another, by epochs; old and new witnesses apply it when they like",
    );
    config.nodes = 4;
    config.clocks = vec![clocks(&[0; 4], [0; 3])];
    config.letters = Letters { votes: Delivery::AtOnce, ..votes_only() };
    config.records = true;
    config.epochs = 4;
    config.solicits = vec![(2, A), (3, A), (4, C)];
    config.electorates = vec![vec![0, 1, 2, 3], vec![1, 2, 3]];
    config
}

fn electorates_in_one_step() -> Config {
    let mut config = plain(
        "one-step-too-many",
        "a leader tries to record an electorate two witnesses away, whose majorities need not meet the old ones",
    );
    config.nodes = 4;
    config.clocks = vec![clocks(&[0; 4], [0; 3])];
    config.letters = Letters { votes: Delivery::AtOnce, ..votes_only() };
    config.records = true;
    config.solicits = vec![(2, A), (3, C)];
    config.electorates = vec![vec![1, 2, 3]];
    config
}

fn declines() -> Config {
    let mut config = plain(
        "declines",
        "instances asked to decline an epoch before, while and after it is voted for; a witness restarts",
    );
    config.letters = votes_only();
    config.faults.node_restarts = 1;
    config.solicits = vec![(2, B), (3, A), (3, C)];
    config.declines = vec![2];
    config
}
