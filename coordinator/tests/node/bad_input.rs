//! Malformed, misdirected and oversized messages: an error to the sender, nothing else.

use super::support::{Cluster, PATIENCE};
use regent_proto::v1;
use regent_proto::v1::agent_message::Message as Said;
use regent_proto::v1::{AgentMessage, CreateGroupRequest, Hello, NodeHello, NodeMessage, Report};
use tonic::{Code, Status};

fn hello(cluster: &str) -> AgentMessage {
    let (group, instance, region) = ("g".into(), "a".into(), "r1".into());
    let hello =
        Hello { cluster: cluster.into(), group, instance, region, address: "a:5432".into(), tags: None };
    AgentMessage { message: Some(Said::Hello(hello)) }
}

/// What an agent's stream ends with.
async fn attend(cluster: &Cluster, messages: Vec<AgentMessage>) -> Status {
    let open = tokio_stream::StreamExt::chain(tokio_stream::iter(messages), tokio_stream::pending());
    let mut client = cluster.nodes[0].witness().await.max_encoding_message_size(64 << 20);
    let mut answers = client.attend(open).await.unwrap().into_inner();
    let end = async {
        loop {
            if let Err(status) = answers.message().await {
                return status;
            }
        }
    };
    tokio::time::timeout(PATIENCE, end).await.expect("the stream is refused")
}

async fn confer(cluster: &Cluster, messages: Vec<NodeMessage>) -> Status {
    let open = tokio_stream::StreamExt::chain(tokio_stream::iter(messages), tokio_stream::pending());
    let mut silence = cluster.nodes[0].witness().await.confer(open).await.unwrap().into_inner();
    let end = tokio::time::timeout(PATIENCE, silence.message()).await;
    end.expect("the stream is refused").unwrap_err()
}

fn expect(status: &Status, code: Code, part: &str) {
    assert_eq!(status.code(), code, "{status}");
    assert!(status.message().contains(part), "{status}: expected {part:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_messages_are_answered_and_disturb_nobody() {
    let cluster = Cluster::start().await;
    cluster.create_group(3_000).await;
    let report = |instance: &str| AgentMessage {
        message: Some(Said::Report(Report {
            group: "g".into(),
            instance: instance.into(),
            seq: Some(v1::Seq { incarnation: 1, number: 1 }),
            position: Some(v1::Position::default()),
            ..Default::default()
        })),
    };
    expect(
        &attend(&cluster, vec![hello("other")]).await,
        Code::FailedPrecondition,
        "expected \"test\", got \"other\"",
    );
    expect(
        &attend(&cluster, vec![report("a")]).await,
        Code::FailedPrecondition,
        "expected a hello for group g",
    );
    expect(&attend(&cluster, vec![hello("test"), report("b")]).await, Code::InvalidArgument, "instance a");
    expect(&attend(&cluster, vec![AgentMessage { message: None }]).await, Code::InvalidArgument, "message");
    let mut incomplete = report("a");
    if let Some(Said::Report(report)) = &mut incomplete.message {
        report.seq = None;
    }
    expect(&attend(&cluster, vec![hello("test"), incomplete]).await, Code::InvalidArgument, "report.seq");
    let mut huge = report("a");
    if let Some(Said::Report(report)) = &mut huge.message {
        report.trouble = "x".repeat(2 << 20);
    }
    expect(&attend(&cluster, vec![hello("test"), huge]).await, Code::OutOfRange, "");

    let node_hello = |cluster: &str, from, to| NodeMessage {
        message: Some(v1::node_message::Message::Hello(NodeHello { cluster: cluster.into(), from, to })),
    };
    expect(&confer(&cluster, vec![node_hello("other", 2, 1)]).await, Code::FailedPrecondition, "\"other\"");
    expect(&confer(&cluster, vec![node_hello("test", 2, 3)]).await, Code::FailedPrecondition, "addressee");
    expect(&confer(&cluster, vec![node_hello("test", 9, 1)]).await, Code::FailedPrecondition, "node 9");
    let standing = v1::Standing { group: "g".into(), witness: 3, floor: 1, ..Default::default() };
    let standing = NodeMessage { message: Some(v1::node_message::Message::Standing(standing)) };
    expect(
        &confer(&cluster, vec![node_hello("test", 2, 1), standing]).await,
        Code::InvalidArgument,
        "node 3",
    );

    let mut admin = cluster.nodes[0].admin().await;
    let create = |group: &str| CreateGroupRequest { group: group.into(), ..Default::default() };
    expect(&admin.create_group(create("g")).await.unwrap_err(), Code::AlreadyExists, "group g exists");
    expect(&admin.create_group(create("Bad Name")).await.unwrap_err(), Code::InvalidArgument, "Bad Name");
    let silly = CreateGroupRequest { ttl_ms: Some(1), ..create("h") };
    expect(&admin.create_group(silly).await.unwrap_err(), Code::InvalidArgument, "between 50 and 60000 ms");
    let stranger = CreateGroupRequest { electorate: vec![1, 9], ..create("h") };
    expect(&admin.create_group(stranger).await.unwrap_err(), Code::NotFound, "no node 9");
    let mut large = cluster.nodes[0].admin().await.max_encoding_message_size(64 << 20);
    let oversized = create(&"x".repeat(1 << 20));
    expect(&large.create_group(oversized).await.unwrap_err(), Code::OutOfRange, "");
    // Everybody is still there.
    cluster.leader().await;
    for node in &cluster.nodes {
        assert!(node.group().await.is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_stream_of_an_instance_takes_the_older_ones_place() {
    let cluster = Cluster::start().await;
    cluster.create_group(3_000).await;
    let first = attend(&cluster, vec![hello("test")]);
    let newer = async {
        let mut client = cluster.nodes[0].witness().await;
        // The first is surely there once the node has told it the group; asked for until it is.
        loop {
            let open =
                tokio_stream::StreamExt::chain(tokio_stream::iter([hello("test")]), tokio_stream::pending());
            let mut answers = client.attend(open).await.unwrap().into_inner();
            match answers.message().await {
                Ok(known) => {
                    let known = known.unwrap().message;
                    assert!(matches!(known, Some(v1::witness_message::Message::Known(_))));
                }
                // This one came before the first: then the first is the newer.
                Err(status) => expect(&status, Code::Aborted, "newer stream"),
            }
        }
    };
    let status = tokio::select! {
        status = first => status,
        () = newer => unreachable!("never ends"),
    };
    expect(&status, Code::Aborted, "newer stream");
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_reflection_are_served() {
    let cluster = Cluster::start().await;
    let channel = cluster.nodes[0].channel().await;
    let mut health = tonic_health::pb::health_client::HealthClient::new(channel.clone());
    for service in ["", "regent.v1.Witness", "regent.v1.Leadership", "regent.v1.Admin"] {
        let request = tonic_health::pb::HealthCheckRequest { service: service.into() };
        let answer = health.check(request).await.unwrap().into_inner();
        assert_eq!(answer.status(), tonic_health::pb::health_check_response::ServingStatus::Serving);
    }
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
    let list = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers = ServerReflectionClient::new(channel)
        .server_reflection_info(tokio_stream::iter([list]))
        .await
        .unwrap()
        .into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(listed) = answer else { panic!("{answer:?}") };
    let names: Vec<_> = listed.service.into_iter().map(|service| service.name).collect();
    assert!(names.contains(&"regent.v1.Leadership".to_owned()), "{names:?}");
}
