//! Each way a message can be wrong, and the words it is refused with.

#![allow(clippy::unwrap_used)] // tests

use regent_core::ids::{Epoch, GroupName, InstanceName};
use regent_core::message::{ToAgent, ToNode};
use regent_core::quorum::Electorate;
use regent_core::state::{Group, Rejected};
use regent_core::vote::{Certificate, Vote};
use regent_proto::api::{Assignment, NewElectorate, NewGroup, PrimaryQuery};
use regent_proto::convert::{ConvertError, FromAgent, NodeHello, rejection};
use regent_proto::v1;
use tonic::{Code, Status};

fn vote() -> v1::Vote {
    v1::Vote {
        group: "orders".into(),
        witness: 1,
        floor: 5,
        named: "west".into(),
        since: 5,
        rest: vec!["north".into()],
        seq: Some(v1::Seq { incarnation: 1, number: 9 }),
        ttl_us: 250_000,
        basis: 4,
        revision: 7,
        electorate: vec![1, 2, 3],
        reason: v1::Reason::Silent.into(),
        configuration: None,
    }
}

fn hello() -> v1::Hello {
    v1::Hello {
        cluster: "prod".into(),
        group: "orders".into(),
        instance: "west".into(),
        region: "us-west".into(),
        address: "10.0.0.7:5432".into(),
        tags: None,
    }
}

fn group() -> v1::Group {
    let terms = v1::Terms {
        ttl_us: 250_000,
        suspicion_us: 400_000,
        mode: "async".into(),
        max_promotion_lag: 1,
        ..Default::default()
    };
    v1::Group { name: "orders".into(), electorate: vec![1], terms: Some(terms), ..Default::default() }
}

fn report() -> v1::Report {
    v1::Report {
        group: "orders".into(),
        instance: "west".into(),
        seq: Some(v1::Seq::default()),
        position: Some(v1::Position::default()),
        ..Default::default()
    }
}

/// Changes a good message; what comes of it must be refused with these words.
fn refused<W, T>(good: W, damage: impl FnOnce(&mut W), words: &str)
where
    W: Clone,
    T: TryFrom<W, Error = ConvertError>,
{
    assert!(T::try_from(good.clone()).is_ok(), "the undamaged message must pass: {words}");
    let mut bad = good;
    damage(&mut bad);
    let error = T::try_from(bad).err().unwrap_or_else(|| panic!("not refused: {words}"));
    assert_eq!(error.to_string(), words);
    assert_eq!(Status::from(error).code(), Code::InvalidArgument);
}

fn bad_vote(damage: impl FnOnce(&mut v1::Vote), words: &str) {
    refused::<_, Vote>(vote(), damage, words);
}

const GROUP_NAME: &str =
    "a group name of 1 to 63 characters of a-z, 0-9, '-' or '_', beginning with a letter or digit";
const INSTANCE_NAME: &str =
    "an instance name of 1 to 63 characters of a-z, 0-9, '-' or '_', beginning with a letter or digit";

#[test]
fn a_vote_with_one_field_wrong() {
    bad_vote(|v| v.group.clear(), &format!("group: expected {GROUP_NAME}, got \"\""));
    bad_vote(|v| v.named = "West".into(), &format!("named: expected {INSTANCE_NAME}, got \"West\""));
    bad_vote(|v| v.witness = 0, "witness: expected 1 to 18446744073709551615, got 0");
    bad_vote(|v| v.floor = 0, "floor: expected 1 to 9223372036854775807, got 0");
    bad_vote(|v| v.floor = u64::MAX, "floor: expected 1 to 9223372036854775807, got 18446744073709551615");
    bad_vote(|v| v.since = 6, "since: expected 0 to 5, got 6");
    bad_vote(|v| v.basis = 5, "basis: expected 0 to 4, got 5");
    bad_vote(
        |v| v.revision = u64::MAX,
        "revision: expected 0 to 9223372036854775807, got 18446744073709551615",
    );
    bad_vote(|v| v.ttl_us = 0, "ttl_us: expected 1 to 3600000000, got 0");
    bad_vote(|v| v.ttl_us = 3_600_000_001, "ttl_us: expected 1 to 3600000000, got 3600000001");
    bad_vote(|v| v.rest = vec!["x".into(); 17], "rest: expected at most 16 entries, got 17");
    bad_vote(|v| v.rest = vec!["x".into(); 2], "rest: expected distinct entries, got 1 of them repeated");
    bad_vote(|v| v.electorate.clear(), "electorate: expected at least one node, got none");
    bad_vote(|v| v.electorate = (1..33).collect(), "electorate: expected at most 31 entries, got 32");
    bad_vote(|v| v.electorate = vec![1, 1], "electorate: expected distinct entries, got 1 of them repeated");
    bad_vote(|v| v.electorate = vec![1, 0], "electorate: expected 1 to 18446744073709551615, got 0");
    bad_vote(|v| v.reason = 8, "reason: expected a reason of 0 to 7, got 8");
    bad_vote(|v| v.reason = -1, "reason: expected a reason of 0 to 7, got -1");
}

#[test]
fn a_certificate_that_decides_nothing() {
    let certificate = v1::Certificate { votes: vec![vote(), v1::Vote { witness: 2, ..vote() }] };
    let bad = |damage: fn(&mut v1::Certificate), words: &str| {
        refused::<_, Certificate>(certificate.clone(), damage, words);
    };
    bad(|c| c.votes.clear(), "votes: expected votes, got none");
    bad(|c| c.votes[1].witness = 1, "votes: expected each witness once, got witness 1 twice");
    bad(
        |c| c.votes[1].named = "east".into(),
        "votes: expected votes for one group, epoch and name, got different ones",
    );
    bad(|c| c.votes.truncate(1), "votes: expected a majority of the nodes 1, 2, 3, got the votes of 1");
    bad(|c| c.votes[1].floor = 0, "votes.floor: expected 1 to 9223372036854775807, got 0");
    bad(|c| c.votes = vec![vote(); 32], "votes: expected at most 31 entries, got 32");
}

#[test]
fn what_an_agent_may_not_say() {
    use v1::agent_message::Message;
    let message = |message| v1::AgentMessage { message: Some(message) };
    refused::<_, FromAgent>(
        message(Message::Hello(hello())),
        |m| m.message = None,
        "message: expected a value, got none",
    );
    let bad_hello = |damage: fn(&mut v1::Hello), words: &str| {
        let mut bad = hello();
        damage(&mut bad);
        refused::<_, FromAgent>(
            message(Message::Hello(hello())),
            |m| *m = message(Message::Hello(bad)),
            words,
        );
    };
    bad_hello(|h| h.cluster.clear(), "hello.cluster: expected a text, got none");
    bad_hello(|h| h.address = "west".into(), "hello.address: expected host:port, got \"west\"");
    bad_hello(|h| h.address = ":5432".into(), "hello.address: expected host:port, got \":5432\"");
    bad_hello(|h| h.address = "a:0".into(), "hello.address: expected host:port, got \"a:0\"");
    bad_hello(|h| h.address = "a:65536".into(), "hello.address: expected host:port, got \"a:65536\"");
    bad_hello(
        |h| h.cluster = "c".repeat(1_025),
        "hello.cluster: expected at most 1024 bytes of text, got 1025 bytes",
    );
    let bad_report = |damage: fn(&mut v1::Report), words: &str| {
        let mut bad = report();
        damage(&mut bad);
        refused::<_, FromAgent>(
            message(Message::Report(report())),
            |m| *m = message(Message::Report(bad)),
            words,
        );
    };
    bad_report(|r| r.seq = None, "report.seq: expected a value, got none");
    bad_report(|r| r.position = None, "report.position: expected a value, got none");
    bad_report(|r| r.claims = Some(0), "report.claims: expected 1 to 9223372036854775807, got 0");
    bad_report(|r| r.role = 9, "report.role: expected a role of 0 to 4, got 9");
    bad_report(
        |r| r.trouble = "x".repeat(5_000_000),
        "report.trouble: expected at most 1024 bytes of text, got 5000000 bytes",
    );
}

#[test]
fn what_a_witness_may_not_say() {
    use v1::witness_message::Message;
    let seq = Some(v1::Seq::default());
    let heard = |refused| v1::WitnessMessage {
        message: Some(Message::Heard(v1::Heard {
            group: "orders".into(),
            seq,
            refused: Some(refused),
            promoted: 0,
            ahead: 0,
        })),
    };
    let young = v1::Refusal { kind: 4, floor: 0, instance: String::new() };
    let bad = |damage: v1::Refusal, words: &str| {
        refused::<_, ToAgent>(heard(young.clone()), |m| *m = heard(damage), words);
    };
    bad(v1::Refusal { kind: 7, ..young.clone() }, "heard.refused.kind: expected a kind of 0 to 6, got 7");
    bad(
        v1::Refusal { kind: 2, ..young.clone() },
        &format!("heard.refused.instance: expected {INSTANCE_NAME}, got \"\""),
    );
}

#[test]
fn what_a_node_may_not_say() {
    use v1::node_message::Message;
    let hello = v1::NodeMessage {
        message: Some(Message::Hello(v1::NodeHello { cluster: "prod".into(), from: 1, to: 2 })),
    };
    let vote = v1::NodeMessage { message: Some(Message::Vote(vote())) };
    let (first, later) = (hello.clone(), vote.clone());
    refused::<_, NodeHello>(hello, |m| *m = later, "message: expected hello first, got another message");
    refused::<_, ToNode>(vote, |m| *m = first, "message: expected hello only once, got another hello");
}

#[test]
fn a_group_that_contradicts_itself() {
    let bad = |damage: fn(&mut v1::Group), words: &str| refused::<_, Group>(group(), damage, words);
    bad(|g| g.epoch = 3, "primary: expected a primary from epoch 1 on, and none before, got epoch 3");
    bad(|g| g.since = 1, "since: expected 0 to 0, got 1");
    bad(|g| g.terms = None, "terms: expected a value, got none");
    bad(|g| g.electorate.clear(), "electorate: expected at least one node, got none");
    bad(|g| g.terms = Some(v1::Terms::default()), "terms.ttl_us: expected 1 to 3600000000, got 0");
    bad(
        |g| g.instances = vec![v1::Instance::default()],
        "instances.region: expected a region name of 1 to 63 characters of a-z, 0-9, '-' or '_', beginning with a letter or digit, got \"\"",
    );
    bad(
        |g| {
            let one =
                v1::Instance { name: "a".into(), region: "r".into(), address: "h:1".into(), tags: None };
            g.instances = vec![one.clone(), one];
        },
        "instances: expected distinct names, got 1 repeated",
    );
    bad(|g| g.history = vec![v1::Change::default(); 257], "history: expected at most 256 entries, got 257");
    bad(
        |g| g.history = vec![v1::Change::default()],
        "history.epoch: expected 1 to 9223372036854775807, got 0",
    );
    let tail = v1::Tail { instance: "a".into(), epoch: 2, from: 9, to: 8, ..Default::default() };
    let left = v1::LeftBehind { group: "orders".into(), tail: Some(tail) };
    let said = v1::AgentMessage { message: Some(v1::agent_message::Message::LeftBehind(left)) };
    let words = "left_behind.tail.to: expected 9 to 18446744073709551615, got 8";
    assert_eq!(FromAgent::try_from(said).unwrap_err().to_string(), words);
}

#[test]
fn requests_that_cannot_be_meant() {
    let query = v1::GetPrimaryRequest { group: "orders".into(), consistency: 0 };
    refused::<_, PrimaryQuery>(
        query,
        |q| q.consistency = 2,
        "consistency: expected LINEARIZABLE or LOCAL, got 2",
    );
    let new = v1::CreateGroupRequest { group: "orders".into(), ..Default::default() };
    refused::<_, NewGroup>(
        new.clone(),
        |n| n.mode = Some("magic".into()),
        "mode: expected async, sync or quorum with how many confirm (sync 1), or bounded with the bound (bounded 100ms), got \"magic\"",
    );
    refused::<_, NewGroup>(
        new,
        |n| n.ttl_ms = Some(u64::MAX),
        "ttl_ms: expected 0 to 3600000, got 18446744073709551615",
    );
    let electorate = v1::SetElectorateRequest { group: "orders".into(), electorate: vec![1] };
    let words = "electorate: expected at least one node, got none";
    refused::<_, NewElectorate>(electorate, |e| e.electorate.clear(), words);
    let none = v1::Assignment { group: "orders".into(), ..Default::default() };
    let words = "primary: expected a primary from epoch 1 on, and none before, got epoch 2";
    refused::<_, Assignment>(none, |a| a.epoch = 2, words);
}

#[test]
fn an_overlong_name_is_not_sent_back_whole() {
    let error = Vote::try_from(v1::Vote { named: "é".repeat(1_000_000), ..vote() }).unwrap_err();
    assert!(error.got.ends_with("... (2000000 bytes)"), "{}", error.got);
    assert!(error.to_string().len() < 400);
}

#[test]
fn a_rejection_has_the_code_of_its_kind_and_the_words_of_the_log() {
    let group = || GroupName::new("orders").unwrap();
    let instance = || InstanceName::new("west").unwrap();
    let table = [
        (Rejected::UnknownGroup { got: group(), known: vec![] }, Code::NotFound),
        (
            Rejected::UnknownInstance { group: group(), got: instance(), known: vec![instance()] },
            Code::NotFound,
        ),
        (Rejected::GroupExists(group()), Code::AlreadyExists),
        (Rejected::BadTerms("no".into()), Code::InvalidArgument),
        (Rejected::BadElectorate { from: Electorate::new(), to: Electorate::new() }, Code::InvalidArgument),
        (Rejected::BadSuccession { group: group(), got: vec![] }, Code::InvalidArgument),
        (Rejected::Begun { group: group(), epoch: Epoch(1) }, Code::FailedPrecondition),
        (Rejected::OtherSystem { group: group(), expected: 1, got: 2 }, Code::FailedPrecondition),
    ];
    for (rejected, code) in table {
        let status = rejection(&rejected);
        assert_eq!(status.code(), code, "{rejected}");
        assert_eq!(status.message(), rejected.to_string());
    }
}
