//! The library against nodes that fail in every way a node can.

#![allow(clippy::unwrap_used)] // tests

mod fake;

use fake::{Inner, Node, Script, assignment, event, until};
use futures::StreamExt;
use regent_client::{Client, Consistency, Error, Event, GroupName, NewGroup, Options, Switchover};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tonic::Status;

fn orders() -> GroupName {
    "orders".parse().unwrap()
}

fn within(timeout: Duration) -> Options {
    Options { timeout, ..Options::default() }
}

fn client(nodes: &[&Node]) -> Client {
    Client::new(nodes.iter().map(|node| node.endpoint())).unwrap()
}

fn scripted(script: impl IntoIterator<Item = Script>) -> Inner {
    Inner { script: script.into_iter().collect(), primary: assignment(7, "east"), ..Inner::default() }
}

/// An endpoint where nobody listens.
async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().to_string()
}

async fn next(events: &mut (impl StreamExt<Item = Result<Event, Error>> + Unpin)) -> Event {
    tokio::time::timeout(Duration::from_secs(10), events.next())
        .await
        .expect("an event within 10 s")
        .unwrap()
        .unwrap()
}

fn present(event: &Event) -> (u64, bool) {
    match event {
        Event::Present(at) => (at.epoch.0, true),
        Event::Changed { assignment: at, .. } => (at.epoch.0, false),
        other => panic!("neither present nor changed: {other:?}"),
    }
}

#[tokio::test]
async fn a_dead_endpoint_is_passed_over_and_the_good_one_kept() {
    let node = Node::start(scripted([])).await;
    let client = Client::new([nobody().await, node.endpoint()]).unwrap();
    for _ in 0..3 {
        let found = client.primary(&orders(), Consistency::Linearizable).await.unwrap();
        assert_eq!(found.primary.unwrap().address, "east.example:5432");
    }
    assert_eq!(node.calls().len(), 3);
}

#[tokio::test]
async fn a_node_that_cannot_is_passed_over() {
    let unable = || Script::Say(Status::unavailable("no majority of witnesses answered"));
    let (one, two) = (Node::start(scripted([unable()])).await, Node::start(scripted([])).await);
    let found = client(&[&one, &two]).primary(&orders(), Consistency::Local).await.unwrap();
    assert_eq!(found.epoch.0, 7);
    assert_eq!(
        (one.calls(), two.calls()),
        (vec!["primary, local".into()], vec!["primary, local".to_owned()])
    );
}

#[tokio::test]
async fn a_node_that_hangs_leaves_time_for_the_others() {
    let (one, two) = (Node::start(scripted([Script::Hang])).await, Node::start(scripted([])).await);
    let endpoints = [one.endpoint(), two.endpoint()];
    let client = Client::with_options(endpoints, within(Duration::from_secs(2))).unwrap();
    assert_eq!(client.primary(&orders(), Consistency::Linearizable).await.unwrap().epoch.0, 7);
}

#[tokio::test]
async fn a_single_node_that_recovers_is_asked_again() {
    let unable = || Script::Say(Status::unavailable("starting"));
    let node = Node::start(scripted([unable(), unable(), unable()])).await;
    assert_eq!(client(&[&node]).primary(&orders(), Consistency::Linearizable).await.unwrap().epoch.0, 7);
    assert_eq!(node.calls().len(), 4);
}

#[tokio::test]
async fn nobody_answers_until_the_deadline_and_each_endpoint_is_named() {
    let endpoints = [nobody().await, nobody().await];
    let client = Client::with_options(endpoints.clone(), within(Duration::from_millis(300))).unwrap();
    let began = Instant::now();
    let error = client.primary(&orders(), Consistency::Linearizable).await.unwrap_err();
    assert!(began.elapsed() >= Duration::from_millis(300) && began.elapsed() < Duration::from_secs(5));
    let Error::Unavailable { tried, .. } = &error else { panic!("{error:?}") };
    let mut names: Vec<_> = tried.iter().map(|tried| tried.endpoint.clone()).collect();
    names.sort();
    let mut expected = endpoints.to_vec();
    expected.sort();
    assert_eq!(names, expected);
    assert!(error.to_string().contains("onnection refused"), "{error}");
}

#[tokio::test]
async fn in_transition_is_asked_again_and_told_at_the_deadline() {
    let between = || Script::Say(Status::aborted("orders is in transition above epoch 7"));
    let node = Node::start(scripted([between(), between()])).await;
    assert_eq!(client(&[&node]).primary(&orders(), Consistency::Linearizable).await.unwrap().epoch.0, 7);
    let node = Node::start(scripted((0..1_000).map(|_| between()))).await;
    let client = Client::with_options([node.endpoint()], within(Duration::from_millis(200))).unwrap();
    let error = client.primary(&orders(), Consistency::Linearizable).await.unwrap_err();
    assert_eq!(error, Error::InTransition { message: "orders is in transition above epoch 7".into() });
    assert!(node.calls().len() < 30, "{} calls in 200 ms: no backoff", node.calls().len());
}

#[tokio::test]
async fn what_every_node_would_say_is_not_asked_twice() {
    let table = [
        (Status::not_found("no group x: known are orders"), "NotFound"),
        (Status::already_exists("there"), "AlreadyExists"),
        (Status::invalid_argument("bad"), "Invalid"),
        (Status::failed_precondition("no"), "Refused"),
        (Status::internal("broken"), "Failed"),
    ];
    for (status, variant) in table {
        let node = Node::start(scripted([Script::Say(status)])).await;
        let error = client(&[&node]).primary(&orders(), Consistency::Linearizable).await.unwrap_err();
        assert!(format!("{error:?}").starts_with(variant), "{error:?}");
        assert_eq!(node.calls().len(), 1);
    }
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_names_the_field() {
    let mut inner = scripted([]);
    inner.primary.address = "nowhere".into();
    let node = Node::start(inner).await;
    let error = client(&[&node]).primary(&orders(), Consistency::Linearizable).await.unwrap_err();
    assert!(error.to_string().contains("address: expected host:port, got \"nowhere\""), "{error}");
}

#[tokio::test]
async fn a_change_is_asked_for_again_only_when_it_was_certainly_not_made() {
    let unable = || Script::Say(Status::unavailable("no leader"));
    let node = Node::start(scripted([unable()])).await;
    let client = Client::new([nobody().await, node.endpoint()]).unwrap();
    let group = client.create_group(NewGroup::new(orders())).await.unwrap();
    assert_eq!(group.name, orders());
    assert_eq!(node.calls().len(), 2);

    let (one, two) = (Node::start(scripted([Script::Hang])).await, Node::start(scripted([])).await);
    let endpoints = [one.endpoint(), two.endpoint()];
    let client = Client::with_options(endpoints, within(Duration::from_millis(300))).unwrap();
    let error = client.switchover(&Switchover::new(orders(), None)).await.unwrap_err();
    assert!(
        matches!(&error, Error::DeadlineExceeded { endpoint, .. } if *endpoint == one.endpoint()),
        "{error:?}"
    );
    assert!(two.calls().is_empty(), "the request may be carried out by the first: {:?}", two.calls());
}

#[tokio::test]
async fn endpoints_that_cannot_be_are_refused_at_once() {
    assert_eq!(Client::new(Vec::<String>::new()).unwrap_err(), Error::NoEndpoint);
    for bad in ["", "host", "host:", ":7400", "host:0", "host:70000", "a b:1", "http://host"] {
        assert_eq!(Client::new([bad]).unwrap_err(), Error::BadEndpoint { got: bad.into() });
    }
    assert!(Client::new(["[::1]:7400", "node-1.example:7400"]).is_ok());
}

#[tokio::test]
async fn a_watch_resumes_where_it_was_when_its_node_restarts() {
    let greeting = vec![event(5, "east", true)];
    let node = Node::start(Inner { greeting, ..Inner::default() }).await;
    let address = node.address;
    let mut events = client(&[&node]).watch([orders()]);
    assert_eq!(present(&next(&mut events).await), (5, true));
    node.tell(Ok(event(6, "west", false)));
    assert_eq!(present(&next(&mut events).await), (6, false));
    drop(node);
    assert!(matches!(next(&mut events).await, Event::Lost { tried } if tried.len() == 1));
    // Back: it repeats the state, and 6, before what is new.
    let greeting = vec![event(6, "west", true), event(6, "west", false), event(7, "north", false)];
    let node = Node::start_at(address, Inner { greeting, ..Inner::default() }).await;
    assert_eq!(present(&next(&mut events).await), (7, false));
    assert_eq!(node.inner.lock().unwrap().watched[0], [("orders".to_owned(), 6)].into());
}

#[tokio::test]
async fn a_watch_goes_on_at_another_node() {
    let inner = |epoch| Inner { greeting: vec![event(epoch, "east", true)], ..Inner::default() };
    let (one, two) = (Node::start(inner(5)).await, Node::start(inner(5)).await);
    let mut events = client(&[&one, &two]).watch([]);
    assert_eq!(present(&next(&mut events).await), (5, true));
    one.tell(Err(Status::unavailable("shutting down")));
    let reading = tokio::spawn(async move { next(&mut events).await });
    until("the watch is open at the second node", || !two.inner.lock().unwrap().watchers.is_empty()).await;
    two.tell(Ok(event(6, "west", false)));
    assert_eq!(present(&reading.await.unwrap()), (6, false));
}

#[tokio::test]
async fn a_compacted_watch_says_so_and_begins_anew() {
    let node = Node::start(Inner { greeting: vec![event(5, "east", true)], ..Inner::default() }).await;
    let mut events = client(&[&node]).watch([orders()]);
    assert_eq!(present(&next(&mut events).await), (5, true));
    {
        let mut inner = node.inner.lock().unwrap();
        inner
            .script
            .push_back(Script::Say(Status::out_of_range("COMPACTED: orders is kept from epoch 40 on")));
        inner.greeting = vec![event(44, "west", true)];
    }
    node.tell(Err(Status::unavailable("restarting")));
    assert_eq!(next(&mut events).await, Event::Lost { tried: vec![tried(&node, "restarting")] });
    assert_eq!(next(&mut events).await, Event::Compacted);
    assert_eq!(present(&next(&mut events).await), (44, true));
    assert_eq!(node.inner.lock().unwrap().watched[2], [].into());
}

fn tried(node: &Node, problem: &str) -> regent_client::Tried {
    regent_client::Tried { endpoint: node.endpoint(), problem: problem.into() }
}

#[tokio::test]
async fn epochs_of_a_watch_strictly_increase() {
    let node = Node::start(Inner { greeting: vec![event(5, "east", true)], ..Inner::default() }).await;
    let mut events = client(&[&node]).watch([orders()]);
    assert_eq!(present(&next(&mut events).await), (5, true));
    for epoch in [5, 4, 6, 6, 3, 9, 8, 10] {
        node.tell(Ok(event(epoch, "west", false)));
    }
    for expected in [6, 9, 10] {
        assert_eq!(present(&next(&mut events).await), (expected, false));
    }
}

#[tokio::test]
async fn a_watch_of_an_unknown_group_ends_with_the_known_names() {
    let unknown = Status::not_found("no group odrers: known are orders");
    let node = Node::start(scripted([Script::Say(unknown)])).await;
    let mut events = client(&[&node]).watch(["odrers".parse().unwrap()]);
    let error = events.next().await.unwrap().unwrap_err();
    assert_eq!(error, Error::NotFound { message: "no group odrers: known are orders".into() });
    assert!(events.next().await.is_none());
}
