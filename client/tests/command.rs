//! The admin's command against a node with a fixed status: what it prints, in each format, and how it exits.
//!
//! The expected outputs are in `tests/golden/`; with REGENT_BLESS=1 they are written anew, to be read before they are
//! committed.

#![allow(clippy::unwrap_used)] // tests

mod fake;

use fake::{Inner, Node, Script, assignment, event, until};
use regent_client::cli::{Exit, Session, Terminal, run};
use regent_proto::v1;
use std::io::{Cursor, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};
use tonic::Status;

const PLAIN: Terminal = Terminal { width: Some(100), colour: false, interactive: false };

/// What a command did.
struct Ran {
    exit: Exit,
    out: String,
    err: String,
}

/// With time for several looks at the status.
async fn regent_at_leisure(node: &Node, args: &[&str]) -> Ran {
    regent_within("5s", &node.endpoint(), args, PLAIN, "").await
}

async fn regent_at(endpoint: &str, args: &[&str], terminal: Terminal, answer: &str) -> Ran {
    regent_within("300ms", endpoint, args, terminal, answer).await
}

async fn regent_within(
    timeout: &str,
    endpoint: &str,
    args: &[&str],
    terminal: Terminal,
    answer: &str,
) -> Ran {
    let (mut out, mut err, mut input) = (Vec::new(), Vec::new(), Cursor::new(answer.to_owned()));
    let session = Session { out: &mut out, err: &mut err, input: &mut input, terminal };
    let all =
        ["regent", "--timeout", timeout, "--endpoints", endpoint].into_iter().chain(args.iter().copied());
    let exit = run(all, session).await;
    Ran { exit, out: String::from_utf8(out).unwrap(), err: String::from_utf8(err).unwrap() }
}

async fn regent(node: &Node, args: &[&str]) -> Ran {
    regent_at(&node.endpoint(), args, PLAIN, "").await
}

fn golden(name: &str, got: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("REGENT_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, got).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(got, expected, "{name} differs; REGENT_BLESS=1 writes it anew");
}

const MIB: u64 = 1 << 20;

fn instance(name: &str, role: v1::Role, lag: u64, place: u32) -> v1::InstanceStatus {
    let at = 0x1_6B37_4D84 - lag;
    v1::InstanceStatus {
        name: format!("orders-{name}"),
        region: name.into(),
        address: format!("10.0.1.{}:5432", name.len()),
        role: role.into(),
        streaming: role == v1::Role::Standby,
        position: Some(v1::Position { timeline: 3, received: at, flushed: at, replayed: at }),
        lag_bytes: Some(lag),
        heard_ms_ago: Some(20),
        fences: vec!["gate".into(), "agent".into()],
        place,
        ..Default::default()
    }
}

fn group() -> v1::Group {
    let names = ["us-east", "us-west", "eu-west"];
    let instance = |name: &str| v1::Instance {
        name: format!("orders-{name}"),
        region: name.into(),
        address: "10.0.1.7:5432".into(),
        ..Default::default()
    };
    let terms = v1::Terms {
        ttl_us: 250_000,
        suspicion_us: 400_000,
        mode: "async".into(),
        max_promotion_lag: 16 * MIB,
        ..Default::default()
    };
    v1::Group {
        name: "orders".into(),
        revision: 42,
        epoch: 7,
        primary: Some("orders-us-east".into()),
        since: 7,
        succession: vec!["orders-us-west".into()],
        electorate: vec![1, 2, 3],
        terms: Some(terms),
        instances: names.map(instance).into(),
        system_id: Some(7_301_234_567_890_123_456),
        ..Default::default()
    }
}

/// All is well, but for one standby that lags.
fn healthy() -> v1::Status {
    let node = |id: u64, region: &str, state: &str| v1::NodeStatus {
        id,
        region: region.into(),
        address: format!("10.0.{id}.5:7400"),
        state: state.into(),
        heard_ms_ago: Some(id * 10),
    };
    let lagging = v1::InstanceStatus {
        why_not: "lags 20 MiB, more than 16 MiB".into(),
        ..instance("eu-west", v1::Role::Standby, 20 * MIB, 0)
    };
    let orders = v1::GroupStatus {
        group: Some(group()),
        epoch: 7,
        primary: "orders-us-east".into(),
        promised_by: vec![1, 2, 3],
        leased: true,
        instances: vec![
            instance("us-east", v1::Role::Primary, 0, 0),
            instance("us-west", v1::Role::Standby, 0, 1),
            lagging,
        ],
        forecast: Some(v1::Forecast {
            heir: "orders-us-west".into(),
            outage_ms: 520,
            lost_bytes: 0,
            waits: false,
            words: String::new(),
        }),
        ..Default::default()
    };
    v1::Status {
        cluster: "prod".into(),
        node: 1,
        leader: Some(2),
        term: 4,
        nodes: vec![
            node(1, "us-east", "follower"),
            node(2, "us-west", "leader"),
            node(3, "eu-west", "follower"),
        ],
        groups: vec![orders],
        ..Default::default()
    }
}

/// A region is gone, nobody could take over, and an agent has something to say.
fn troubled() -> v1::Status {
    let mut status = healthy();
    status.leader = None;
    status.nodes[1] =
        v1::NodeStatus { state: "unreachable".into(), heard_ms_ago: None, ..status.nodes[1].clone() };
    let orders = &mut status.groups[0];
    orders.leased = false;
    orders.promised_by = vec![1];
    orders.epoch = 8;
    let words = "nobody could take over: see why not beside each instance".into();
    orders.forecast = Some(v1::Forecast { words, ..Default::default() });
    let ill = "pg_rewind failed:\n\u{1b}[31mno space left\u{1b}[0m".to_owned();
    orders.troubles =
        vec!["orders-us-east holds no lease since 3 s: writes wait".into(), format!("orders-eu-west: {ill}")];
    orders.switching = Some(v1::Switching {
        from: "orders-us-east".into(),
        to: "orders-us-west".into(),
        step: v1::Step::CalledOff.into(),
        why: format!("the office was given up: Postgres died ({ill})"),
        began_ms_ago: 4_000,
        over: true,
        ..Default::default()
    });
    orders.instances[1].heard_ms_ago = None;
    orders.instances[1].position = None;
    orders.instances[1].lag_bytes = None;
    orders.instances[2].streaming = false;
    (orders.instances[2].trouble, orders.instances[2].why_not) = (ill.clone(), ill);
    status
}

async fn node_with(status: v1::Status) -> Node {
    let changes = vec![
        v1::Change {
            revision: 3,
            epoch: 1,
            primary: "orders-us-west".into(),
            since: 1,
            reason: v1::Reason::First.into(),
            at_unix_ms: 1_795_600_000_123,
            ..Default::default()
        },
        v1::Change {
            revision: 42,
            epoch: 7,
            primary: "orders-us-east".into(),
            since: 7,
            reason: v1::Reason::Silent.into(),
            voters: vec![1, 3],
            positions: [("orders-us-east".to_owned(), v1::Position { timeline: 3, ..Default::default() })]
                .into(),
            at_unix_ms: 1_795_600_420_007,
            tails: vec![v1::Tail {
                instance: "orders-us-west".into(),
                epoch: 7,
                timeline: 2,
                from: 0x300_0148,
                to: 0x300_5290,
                commits: 33,
                kept: "/var/lib/regent/orders/lost/epoch-7-timeline-2-from-0-3000148".into(),
                found_unix_ms: 1_795_600_480_250,
            }],
        },
    ];
    let primary = assignment(7, "orders-us-east");
    Node::start(Inner { status, primary, changes, groups: vec![group()], ..Inner::default() }).await
}

#[tokio::test]
async fn status_of_a_healthy_cluster() {
    let node = node_with(healthy()).await;
    let ran = regent(&node, &["status"]).await;
    assert_eq!((ran.exit, ran.err.as_str()), (Exit::Ok, ""));
    assert!(ran.out.lines().all(|line| line.chars().count() <= 100), "{}", ran.out);
    golden("status.txt", &ran.out);
    golden("status.json", &regent(&node, &["status", "-o", "json"]).await.out);
    golden("status.yaml", &regent(&node, &["status", "-o", "yaml"]).await.out);
}

#[tokio::test]
async fn status_says_first_what_is_wrong_and_exits_with_1() {
    let node = node_with(troubled()).await;
    let ran = regent(&node, &["status", "orders"]).await;
    assert_eq!(ran.exit, Exit::Unwell);
    assert!(!ran.out.contains('\u{1b}'), "what an agent says must not steer the terminal: {}", ran.out);
    golden("troubled.txt", &ran.out);
    let colour = Terminal { colour: true, ..PLAIN };
    let ran = regent_at(&node.endpoint(), &["status"], colour, "").await;
    assert!(ran.out.starts_with("\u{1b}[1;31m!! orders: orders-us-east holds no lease"), "{}", ran.out);
    let ran = regent(&node, &["status", "-o", "json"]).await;
    let value: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((ran.exit, &value["healthy"]), (Exit::Unwell, &serde_json::json!(false)));
}

#[tokio::test]
async fn status_fits_a_narrow_terminal() {
    let node = node_with(healthy()).await;
    let narrow = Terminal { width: Some(60), ..PLAIN };
    let ran = regent_at(&node.endpoint(), &["status"], narrow, "").await;
    golden("narrow.txt", &ran.out);
}

#[tokio::test]
async fn replicas_are_those_that_stream_and_are_not_tagged() {
    let mut status = healthy();
    for one in &mut status.groups[0].instances {
        one.address = format!("{}:5432", one.name);
    }
    let node = node_with(status.clone()).await;
    let both = "orders-us-west:5432\norders-eu-west:5432\n";
    let ran = regent(&node, &["replicas", "orders"]).await;
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Ok, both), "the one least behind first");
    let ran = regent(&node, &["replicas", "orders", "-o", "json"]).await;
    let value: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(value[0]["instance"], "orders-us-west");

    // One is tagged, one has not been heard of for too long, or does not stream.
    let tags =
        v1::Tags { no_load_balance: true, replicate_from: "orders-eu-west".into(), ..Default::default() };
    status.groups[0].group.as_mut().unwrap().instances[1].tags = Some(tags);
    status.groups[0].instances[1].through = "orders-eu-west".into();
    let node = node_with(status.clone()).await;
    assert_eq!(regent(&node, &["replicas", "orders"]).await.out, "orders-eu-west:5432\n");
    let shown = regent(&node, &["status"]).await.out;
    assert!(shown.contains("standby of orders-eu-west"), "{shown}");
    let tagged = "orders-us-west is tagged no_load_balance, replicate_from orders-eu-west";
    assert!(shown.contains(tagged), "{shown}");
    let spoil: [fn(&mut v1::InstanceStatus); 2] =
        [|one| one.heard_ms_ago = Some(2_000), |one| one.streaming = false];
    for spoil in spoil {
        let mut status = status.clone();
        spoil(&mut status.groups[0].instances[2]);
        let ran = regent(&node_with(status).await, &["replicas", "orders"]).await;
        assert_eq!((ran.exit, ran.out.as_str()), (Exit::Unwell, ""));
    }
}

#[tokio::test]
async fn the_primary_is_one_line_that_scripts_can_use() {
    let node = node_with(healthy()).await;
    let ran = regent(&node, &["primary", "orders"]).await;
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Ok, "orders-us-east.example:5432\n"));
    regent(&node, &["primary", "orders", "--local"]).await;
    assert_eq!(node.calls(), ["primary", "primary, local"]);
    golden("primary.json", &regent(&node, &["primary", "orders", "-o", "json"]).await.out);
    node.inner.lock().unwrap().primary = v1::Assignment { group: "orders".into(), ..Default::default() };
    let ran = regent(&node, &["primary", "orders"]).await;
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Unwell, ""));
    assert!(ran.err.contains("orders has no primary yet"), "{}", ran.err);
}

#[tokio::test]
async fn history_and_groups() {
    let node = node_with(healthy()).await;
    golden("history.txt", &regent(&node, &["history", "orders"]).await.out);
    golden("history.yaml", &regent(&node, &["history", "orders", "-o", "yaml"]).await.out);
    golden("groups.txt", &regent(&node, &["group", "list"]).await.out);
    golden("groups.json", &regent(&node, &["group", "list", "-o", "json"]).await.out);
}

#[tokio::test]
async fn a_switchover_says_what_it_will_do_and_asks() {
    let node = node_with(healthy()).await;
    let refused = regent(&node, &["switchover", "orders"]).await;
    assert_eq!(refused.exit, Exit::Usage);
    assert!(refused.err.contains("--yes"), "{}", refused.err);
    let somebody = Terminal { interactive: true, ..PLAIN };
    let no = regent_at(&node.endpoint(), &["switchover", "orders"], somebody, "n\n").await;
    assert_eq!(no.exit, Exit::Refused);
    assert!(
        no.err.contains("moves from orders-us-east to orders-us-west (0 B behind). Commits wait"),
        "{}",
        no.err
    );
    assert!(!node.calls().iter().any(|call| call.starts_with("switchover")), "nothing was confirmed");
    let yes = regent_at(&node.endpoint(), &["switchover", "orders"], somebody, "y\n").await;
    assert_eq!(
        (yes.exit, yes.out.contains("orders epoch 8: orders-us-west")),
        (Exit::Ok, true),
        "{}",
        yes.err
    );
    let forced = regent(&node, &["switchover", "orders", "--to", "orders-eu-west", "--yes"]).await;
    assert_eq!(forced.exit, Exit::Ok);
    for there in ["orders-us-east", "us-east"] {
        let there = regent(&node, &["switchover", "orders", "--to", there, "--yes"]).await;
        assert_eq!(there.exit, Exit::Ok);
    }
    let calls: Vec<_> = node.calls().into_iter().filter(|call| call.starts_with("switchover")).collect();
    assert_eq!(
        calls,
        ["switchover to orders-us-west, wait Some(5000)", "switchover to orders-eu-west, wait Some(5000)"]
    );
}

/// The steps as the nodes tell them, and at last how long commits waited.
#[tokio::test]
async fn a_switchover_shows_its_steps_and_the_pause() {
    let step = |step: v1::Step, held_ms: Option<u64>, over: bool| v1::Switching {
        from: "orders-us-east".into(),
        to: "orders-us-west".into(),
        step: step.into(),
        held_ms,
        over,
        ..Default::default()
    };
    let steps = [
        step(v1::Step::Checkpoint, None, false),
        step(v1::Step::Stopping, Some(40), false),
        step(v1::Step::Released, Some(200), false),
        step(v1::Step::Released, Some(312), true),
    ];
    let said = async |format: &str| {
        let node = node_with(healthy()).await;
        node.inner.lock().unwrap().steps = steps.clone().into();
        let args = ["switchover", "orders", "--yes", "--wait", "1s", "-o", format];
        regent_at_leisure(&node, &args).await
    };
    let ran = said("table").await;
    assert_eq!(ran.exit, Exit::Ok, "{}", ran.err);
    let lines: Vec<&str> =
        ran.err.lines().map(|line| line.split_once(" ms  ").map_or(line, |(_, what)| what)).collect();
    assert_eq!(
        lines,
        [
            "orders: the primary moves from orders-us-east to orders-us-west (0 B behind). Commits wait for about 265 ms \
             meanwhile; none is lost.",
            "orders-us-east makes a checkpoint; commits pass",
            "commits wait; orders-us-east sends the rest and stops",
            "orders-us-east has given up in favour of orders-us-west",
        ]
    );
    assert!(ran.out.ends_with("; commits waited for about 312 ms\n"), "{}", ran.out);
    let value: serde_json::Value = serde_json::from_str(&said("json").await.out).unwrap();
    assert_eq!((&value["epoch"], &value["commits_waited_ms"]), (&8.into(), &312.into()));
}

#[tokio::test]
async fn a_dry_run_says_what_would_be_done_and_asks_for_nothing() {
    let node = node_with(healthy()).await;
    let args = ["switchover", "orders", "--to", "eu-west", "--dry-run"];
    let ran = regent(&node, &args).await;
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Ok, "nothing was changed\n"), "{}", ran.err);
    assert!(ran.err.contains("to orders-eu-west (20 MiB behind)"), "{}", ran.err);
    let ran = regent(&node, &[&args[..], &["-o", "json"]].concat()).await;
    let value: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&value["to"], &value["commits_wait_ms"]), (&"orders-eu-west".into(), &265.into()));
    assert!(!node.calls().iter().any(|call| call.starts_with("switchover")), "{:?}", node.calls());
}

#[tokio::test]
async fn a_restart_says_what_it_will_do_and_asks() {
    let node = node_with(healthy()).await;
    let (primary, standby) = ("orders-us-east", "orders-us-west");
    let refused = regent(&node, &["restart", primary]).await;
    assert_eq!((refused.exit, refused.err.contains("--yes")), (Exit::Usage, true), "{}", refused.err);
    let somebody = Terminal { interactive: true, ..PLAIN };
    let no = regent_at(&node.endpoint(), &["restart", primary], somebody, "n\n").await;
    assert_eq!(no.exit, Exit::Refused);
    let words = "orders: orders-us-east stays primary and is restarted in place. Commits wait for about 420 ms meanwhile. It is \
                 needed for shared_buffers.\n";
    assert!(no.err.starts_with(words), "{}", no.err);
    let dry = regent(&node, &["restart", standby, "--dry-run"]).await;
    assert_eq!((dry.exit, dry.out.as_str()), (Exit::Ok, "nothing was changed\n"));
    assert!(dry.err.ends_with("as the standby it is; no commit waits.\n"), "{}", dry.err);
    let none = regent(&node, &["restart", standby, "--pending", "--yes"]).await;
    let words = "no parameter of orders-us-west waits for a restart: nothing to do\n";
    assert_eq!((none.exit, none.out.as_str()), (Exit::Ok, words), "{}", none.err);
    let unknown = regent(&node, &["restart", "orders-us-north", "--yes"]).await;
    assert_eq!(unknown.exit, Exit::NotFound);
    assert!(unknown.err.contains("known are orders-eu-west, orders-us-east"), "{}", unknown.err);
    let asked = |node: &Node| -> Vec<String> {
        node.calls().into_iter().filter(|call| call.starts_with("restart")).collect()
    };
    assert_eq!(asked(&node), [""; 0]);

    let yes = regent(&node, &["restart", standby, "--group", "orders", "--yes"]).await;
    assert_eq!((yes.exit, yes.out.as_str()), (Exit::Ok, "orders-us-west is restarted\n"), "{}", yes.err);
    let pending = regent(&node, &["restart", primary, "--pending", "--wait", "1s", "--yes"]).await;
    assert_eq!((pending.exit, pending.out.as_str()), (Exit::Ok, "orders-us-east is restarted\n"));
    let calls = ["restart orders-us-west, wait Some(5000)", "restart orders-us-east, wait Some(1000)"];
    assert_eq!(asked(&node), calls);
}

/// The steps as the nodes tell them, and at last how long commits waited.
#[tokio::test]
async fn a_restart_shows_its_steps_and_the_pause() {
    let step = |step: v1::Step, held_ms: Option<u64>, over: bool| v1::Switching {
        from: "orders-us-east".into(),
        to: "orders-us-east".into(),
        step: step.into(),
        held_ms,
        over,
        ..Default::default()
    };
    let steps = [
        step(v1::Step::Checkpoint, None, false),
        step(v1::Step::Held, Some(10), false),
        step(v1::Step::Starting, Some(100), false),
        step(v1::Step::Restarted, Some(312), true),
    ];
    let said = async |format: &str| {
        let node = node_with(healthy()).await;
        node.inner.lock().unwrap().steps = steps.clone().into();
        regent_at_leisure(&node, &["restart", "orders-us-east", "--yes", "-o", format]).await
    };
    let ran = said("table").await;
    assert_eq!(ran.exit, Exit::Ok, "{}", ran.err);
    let lines: Vec<&str> = ran.err.lines().filter_map(|line| Some(line.split_once(" ms  ")?.1)).collect();
    assert_eq!(
        lines,
        [
            "orders-us-east makes a checkpoint; commits pass",
            "commits wait; its heir receives the rest",
            "commits wait; orders-us-east starts",
        ]
    );
    assert_eq!(ran.out, "orders-us-east is restarted; commits waited for about 312 ms\n");
    let value: serde_json::Value = serde_json::from_str(&said("json").await.out).unwrap();
    assert_eq!((&value["how"], &value["commits_waited_ms"]), (&"in_place".into(), &312.into()));
    assert_eq!(value["pending"], serde_json::json!(["shared_buffers"]));
}

#[tokio::test]
async fn a_switchover_at_a_time_says_that_it_waits_here() {
    let node = node_with(healthy()).await;
    let soon = std::time::SystemTime::now() + std::time::Duration::from_secs(1);
    let at = humantime::format_rfc3339_millis(soon).to_string();
    let ran = regent(&node, &["switchover", "orders", "--yes", "--at", &at]).await;
    assert_eq!(ran.exit, Exit::Ok, "{}", ran.err);
    assert!(ran.err.contains("nothing is scheduled anywhere else"), "{}", ran.err);
    assert!(std::time::SystemTime::now() >= soon);
    for (bad, words) in [("3 am", "HH:MM"), ("2001-01-01T00:00:00Z", "is past")] {
        let ran = regent(&node, &["switchover", "orders", "--yes", "--at", bad]).await;
        assert_eq!(ran.exit, Exit::Usage);
        assert!(ran.err.contains(words), "{}", ran.err);
    }
}

#[tokio::test]
async fn a_drain_waits_until_the_region_is_free_and_says_what_is_left() {
    let node = node_with(healthy()).await;
    let ran = regent(&node, &["drain", "us-west"]).await;
    assert_eq!(
        (ran.exit, ran.out.as_str()),
        (Exit::Ok, "us-west is drained: no primary is there\n"),
        "{}",
        ran.err
    );
    let ran = regent(&node, &["drain", "us-east", "--wait", "10ms"]).await;
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Open, ""));
    assert!(
        ran.err.contains("orders-us-east of orders is still there: orders-eu-west lags 20 MiB"),
        "{}",
        ran.err
    );
    let shown = regent(&node, &["status"]).await.out;
    assert!(shown.contains("Drained, no primary shall be there: us-west, us-east"), "{shown}");
    let ran = regent(&node, &["undrain", "us-east", "-o", "json"]).await;
    let value: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(value, serde_json::json!({"drained": ["us-west"], "left": []}));
}

#[tokio::test]
async fn groups_are_created_and_leaders_and_electorates_moved() {
    let node = node_with(healthy()).await;
    let args = ["group", "create", "billing", "--ttl-ms", "300", "--electorate", "1,2"];
    let ran = regent(&node, &args).await;
    assert_eq!(ran.exit, Exit::Ok, "{}", ran.err);
    assert!(ran.out.starts_with("group billing created: ttl 300 ms"), "{}", ran.out);
    let ran = regent(&node, &["leader", "transfer", "3"]).await;
    assert_eq!(ran.out, "node 3 leads Raft in term 5\n");
    let ran = regent(&node, &["electorate", "orders", "1,2,3,4"]).await;
    assert_eq!(ran.out, "group orders is governed by nodes 1, 2, 3, 4\n");
    let calls = ["create billing ttl Some(300) nodes [1, 2]", "transfer to 3", "electorate [1, 2, 3, 4]"];
    assert_eq!(node.calls(), calls);
}

#[tokio::test]
async fn a_mode_is_set_with_its_count_and_policy() {
    let node = node_with(healthy()).await;
    let set = ["group", "set", "orders", "--mode", "sync"];
    let ran = regent(&node, &[&set[..], &["--sync-count", "2", "--policy", "degrade"]].concat()).await;
    assert!(ran.out.contains(", sync 2 or degrade, "), "{}{}", ran.out, ran.err);
    let ran = regent(&node, &set).await;
    assert!(ran.out.contains(", sync 1 or block, "), "{}{}", ran.out, ran.err);
    let bounded = ["group", "set", "orders", "--mode", "bounded", "--rpo", "250ms", "--sync-count", "2"];
    let ran = regent(&node, &bounded).await;
    assert!(ran.out.contains(", bounded 250ms 2 or block, "), "{}{}", ran.out, ran.err);
    for wrong in [
        &["--mode", "async", "--sync-count", "1"][..],
        &["--mode", "sync", "--rpo", "100ms"],
        &["--mode", "bounded", "--rpo", "100"],
        &["--mode", "magic"],
        &[],
    ] {
        let ran = regent(&node, &[&["group", "set", "orders"], wrong].concat()).await;
        assert_eq!(ran.exit, Exit::Usage, "{wrong:?}: {}", ran.err);
    }
    assert_eq!(
        node.calls(),
        [
            "mode sync 2 policy Some(\"degrade\")",
            "mode sync 1 policy None",
            "mode bounded 250ms 2 policy None"
        ]
    );
}

/// What a watch prints, readable while it runs.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

async fn watched(format: &str) -> String {
    let node = Node::start(Inner { greeting: vec![event(5, "east", true)], ..Inner::default() }).await;
    let (printed, endpoint) = (Shared::default(), node.endpoint());
    let (mut out, mut err, mut input) = (printed.clone(), Vec::new(), Cursor::new(String::new()));
    let session = Session { out: &mut out, err: &mut err, input: &mut input, terminal: PLAIN };
    let running = run(["regent", "--endpoints", &endpoint, "watch", "-o", format], session);
    let telling = async {
        until("the watch is open", || !node.inner.lock().unwrap().watchers.is_empty()).await;
        let mut changed = event(7, "west", false);
        changed.jumped = vec![6];
        node.tell(Ok(changed));
        node.tell(Err(Status::not_found("no group orders: there is none yet")));
    };
    let (exit, ()) = tokio::join!(running, telling);
    assert_eq!(exit, Exit::NotFound);
    assert_eq!(String::from_utf8(err).unwrap(), "regent: no group orders: there is none yet\n");
    let text = printed.0.lock().unwrap().clone();
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn a_watch_prints_each_change_as_it_comes() {
    let table = watched("table").await;
    let lines: Vec<_> = table.lines().map(|line| line.split_once("Z  ").unwrap().1).collect();
    assert_eq!(
        lines,
        [
            "orders epoch 5: east in region-of-east at east.example:5432",
            "orders epoch 7: west in region-of-west at west.example:5432 (primary silent, past epochs 6)",
        ]
    );
    golden("watch.json", &watched("json").await);
    golden("watch.yaml", &watched("yaml").await);
}

#[tokio::test]
async fn each_kind_of_error_has_its_exit_code_and_one_line() {
    let table = [
        (Status::not_found("no group odrers: known are orders"), Exit::NotFound, "known are orders"),
        (Status::already_exists("group orders exists already"), Exit::Refused, "exists already"),
        (
            Status::invalid_argument("ttl must be between 50 and 60000 ms, got 1 ms"),
            Exit::Usage,
            "50 and 60000",
        ),
        (Status::failed_precondition("orders-eu-west lags"), Exit::Refused, "lags"),
        (Status::aborted("orders is in transition"), Exit::Open, "give it more time"),
        (Status::internal("line one\nline two"), Exit::Open, "see its log"),
        (Status::deadline_exceeded("late"), Exit::Open, "look at the status"),
        (Status::permission_denied("not for you"), Exit::Refused, "not for you"),
    ];
    for (status, exit, words) in table {
        let node = node_with(healthy()).await;
        node.inner.lock().unwrap().script.push_back(Script::Say(status.clone()));
        let ran = regent(&node, &["group", "create", "orders"]).await;
        assert_eq!((ran.exit, ran.out.as_str()), (exit, ""), "{status:?}: {}", ran.err);
        assert!(ran.err.starts_with("regent: ") && ran.err.contains(words), "{}", ran.err);
        assert_eq!(ran.err.lines().count(), 1, "{}", ran.err);
    }
    let ran = regent_at("127.0.0.1:1", &["status"], PLAIN, "").await;
    assert_eq!(ran.exit, Exit::Unreachable);
    assert!(ran.err.contains("127.0.0.1:1 (") && ran.err.contains("check --endpoints"), "{}", ran.err);
}

#[tokio::test]
async fn a_wrong_command_line_exits_with_2_and_help_lists_the_codes() {
    for bad in [
        &["frobnicate"][..],
        &["primary"],
        &["primary", "No Such Name"],
        &["status", "-o", "xml"],
        &["status", "--timeout", "0s"],
        &["switchover", "orders", "--wait", "51s"],
        &["restart", "orders-us-east", "--wait", "51s"],
        &["leader", "transfer", "east"],
        &["electorate", "orders", "1,x"],
    ] {
        let ran = regent_at("127.0.0.1:1", bad, PLAIN, "").await;
        assert_eq!((ran.exit, ran.out.as_str()), (Exit::Usage, ""), "{bad:?}");
        assert!(!ran.err.is_empty());
    }
    let ran = regent_at("no-port", &["status"], PLAIN, "").await;
    assert_eq!(ran.exit, Exit::Usage);
    assert!(ran.err.contains("\"no-port\" is not an address: expected host:port"), "{}", ran.err);
    let help = regent_at("127.0.0.1:1", &["--help"], PLAIN, "").await;
    assert_eq!(help.exit, Exit::Ok);
    for code in 0..=6 {
        assert!(help.out.contains(&format!("\n  {code}  ")), "{}", help.out);
    }
}
