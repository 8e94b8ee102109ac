//! The decisions of Regent, as pure functions of time and messages.
//!
//! # The idea
//!
//! A group is one replicated Postgres: a primary and its standbys. Electing a Raft leader over a wide area takes a second
//! or two, too long to stand between a death and a promotion. So *Raft prepares, witnesses act*. In calm times the Raft
//! leader keeps in the log who is primary, in which epoch, and who would succeed it. The primary lives on promises of time
//! from a majority of witnesses, one in each region. When it falls silent, each witness by itself, durably, votes it out
//! and names the heir that it knows from its log. A majority of such votes *is* the decision, a consensus whose acceptors
//! are the witnesses and whose ballots are the epochs. The heir collects them itself and starts. The log records it when a
//! leader is there again.
//!
//! # Where to read
//!
//! | to learn | read |
//! |---|---|
//! | what is decided, and by which messages | [`state`], [`command`], [`message`] |
//! | what a witness promises, and what it votes | [`witness`] |
//! | when votes decide | [`vote`], [`quorum`] |
//! | how a promise becomes a deadline | [`lease`], [`time`] |
//! | what an agent does with all this | [`agent`] |
//! | what the Raft leader does in calm, and to mend | [`plan`], [`succession`], [`switchover`], [`drain`], on a [`view`] |
//! | what an operator wants of one instance | [`tags`] |
//! | what a change of primary left behind | [`tail`] |
//! | when a commit counts, and who must have it first | [`replication`] |
//! | what is answered to who asks | [`forecast`] and the reads |
//! | how it is proved that the checks can fail | [`mutant`] |
//!
//! # Why it is safe
//!
//! 1. A witness has at most one running promise in a group, and a vote counts as one. A holder's deadline ends before each
//!    promise it rests on, for it is counted from when the request was sent, less the drift of two clocks. Gates open only
//!    under such a deadline. So leases never overlap.
//! 2. A majority has its floor at f before anybody can hold f; a floor is durable and never falls. So once f is held, no
//!    lease below f is extended or comes again. With 1: no write of an earlier epoch is acknowledged that was begun after
//!    one of a later epoch was.
//! 3. A witness names one instance for one floor. So two certificates for f name the same one.
//! 4. What a witness may name follows from what it said last, not from what anybody else wants. So whoever comes after a
//!    decision is somebody whom that decision allowed.
//!
//! No clock of a leader and no memory of a leader appears in this. The succession is advice: safety does not depend on
//! witnesses agreeing about it, only speed does.
//!
//! # What is not here, on purpose
//!
//! No clock, no chance, no I/O, no task, no lock. Whoever calls these functions owns clock, network and disk, hands time
//! and messages in, and carries out what comes back *in order*: nothing after a `Persist` before it is durable.
//! A wire format (the `proto` crate has it). Configuration: what all must agree on is in the [`state`], the rest is the
//! shells' own.

pub mod agent;
pub mod bound;
pub mod command;
pub mod drain;
pub mod forecast;
pub mod ids;
pub mod lease;
pub mod message;
pub mod mutant;
pub mod plan;
pub mod quorum;
pub mod read;
pub mod replication;
pub mod state;
pub mod succession;
pub mod switchover;
pub mod tags;
pub mod tail;
pub mod time;
pub mod view;
pub mod vote;
pub mod witness;
