//! Requests and answers come back from the core as they went in.

#![allow(clippy::unwrap_used)] // tests

use regent_core::ids::GroupName;
use regent_proto::api::{
    Assignment, Drain, NewElectorate, NewGroup, NewMode, PrimaryQuery, Status, Switchover, SwitchoverPlan,
    Told, WatchQuery,
};
use regent_proto::convert::ConvertError;
use regent_proto::v1;
use std::fmt::Debug;
use std::time::Duration;

fn unchanged<W, T>(wire: W)
where
    W: Clone + PartialEq + Debug + From<T>,
    T: TryFrom<W, Error = ConvertError>,
{
    let core = T::try_from(wire.clone()).unwrap();
    assert_eq!(W::from(core), wire);
}

fn assignment() -> v1::Assignment {
    v1::Assignment {
        group: "orders".into(),
        epoch: 7,
        primary: "west".into(),
        region: "us-west".into(),
        address: "10.0.0.7:5432".into(),
        revision: 42,
        age_ms: 3,
    }
}

fn group() -> v1::Group {
    let terms = v1::Terms {
        ttl_us: 250_000,
        suspicion_us: 400_000,
        mode: "async".into(),
        max_promotion_lag: 1,
        policy: "block".into(),
    };
    v1::Group {
        name: "orders".into(),
        revision: 1,
        electorate: vec![1],
        terms: Some(terms),
        ..Default::default()
    }
}

#[test]
fn who_leads() {
    unchanged::<_, Assignment>(assignment());
    unchanged::<_, Assignment>(v1::Assignment { revision: 0, ..assignment() });
    unchanged::<_, Assignment>(v1::Assignment { group: "orders".into(), ..Default::default() });
    for present in [true, false] {
        let reason = "primary silent".to_owned();
        unchanged::<_, Told>(v1::WatchEvent {
            assignment: Some(assignment()),
            present,
            jumped: vec![5, 6],
            reason,
        });
    }
}

#[test]
fn what_is_asked() {
    for consistency in [0, 1] {
        unchanged::<_, PrimaryQuery>(v1::GetPrimaryRequest { group: "orders".into(), consistency });
    }
    let from = [("orders".to_owned(), 7)].into();
    unchanged::<_, WatchQuery>(v1::WatchRequest { groups: vec!["billing".into(), "orders".into()], from });
    for (to, wait_ms) in [(Some("west".to_owned()), None), (None, Some(50_000))] {
        unchanged::<_, Switchover>(v1::SwitchoverRequest { group: "orders".into(), to, wait_ms });
    }
    for (lag_bytes, pause_ms) in [(Some(9), None), (None, Some(265))] {
        let (from, to) = ("east".into(), "west".into());
        unchanged::<_, SwitchoverPlan>(v1::SwitchoverPlan {
            group: "orders".into(),
            from,
            to,
            lag_bytes,
            pause_ms,
        });
    }
    for drained in [true, false] {
        unchanged::<_, Drain>(v1::SetDrainedRequest { region: "us-east".into(), drained });
    }
    unchanged::<_, NewElectorate>(v1::SetElectorateRequest {
        group: "orders".into(),
        electorate: vec![1, 2],
    });
    unchanged::<_, NewGroup>(v1::CreateGroupRequest { group: "orders".into(), ..Default::default() });
    unchanged::<_, NewGroup>(v1::CreateGroupRequest {
        group: "orders".into(),
        ttl_ms: Some(300),
        suspicion_ms: Some(500),
        mode: Some("async".into()),
        max_promotion_lag: Some(9),
        first: Some("east".into()),
        electorate: vec![1, 3],
        policy: Some("degrade".into()),
    });
    unchanged::<_, NewGroup>(v1::CreateGroupRequest {
        group: "orders".into(),
        mode: Some("sync 2".into()),
        ..Default::default()
    });
    unchanged::<_, NewMode>(v1::SetModeRequest {
        group: "orders".into(),
        mode: "sync 1".into(),
        policy: Some("block".into()),
    });
}

#[test]
fn the_status() {
    let heard = v1::InstanceStatus {
        name: "west".into(),
        region: "us-west".into(),
        address: "10.0.0.7:5432".into(),
        role: v1::Role::Standby.into(),
        streaming: true,
        position: Some(v1::Position { timeline: 3, received: 9, flushed: 8, replayed: 7 }),
        lag_bytes: Some(5),
        heard_ms_ago: Some(20),
        fences: vec!["gate".into()],
        place: 1,
        why_not: String::new(),
        trouble: "slow disk".into(),
        progress: "cloning a: 3 %".into(),
        through: "b".into(),
    };
    let never = v1::InstanceStatus { name: "north".into(), region: "eu".into(), ..Default::default() };
    let forecast = v1::Forecast {
        heir: "west".into(),
        outage_ms: 520,
        lost_bytes: 9,
        waits: true,
        words: "soon".into(),
    };
    let orders = v1::GroupStatus {
        group: Some(group()),
        epoch: 8,
        primary: "east".into(),
        promised_by: vec![1, 2],
        leased: true,
        instances: vec![heard, never],
        forecast: Some(forecast),
        troubles: vec!["a".into()],
        switching: Some(v1::Switching {
            from: "east".into(),
            to: "west".into(),
            step: v1::Step::CalledOff.into(),
            why: "it lags".into(),
            began_ms_ago: 1_200,
            held_ms: Some(500),
            over: true,
        }),
    };
    let node = v1::NodeStatus {
        id: 1,
        region: "us-west".into(),
        address: "10.0.0.1:7400".into(),
        state: "leader".into(),
        heard_ms_ago: None,
    };
    let cluster = "prod".to_owned();
    let groups = vec![orders];
    unchanged::<_, Status>(v1::Status {
        cluster,
        node: 1,
        leader: Some(1),
        term: 4,
        nodes: vec![node],
        groups,
        drained: vec!["us-east".into()],
    });
}

#[test]
fn a_suspicion_left_out_keeps_its_distance_from_the_ttl() {
    let new = |ttl, suspicion| {
        let span = |ms: Option<u64>| ms.map(Duration::from_millis);
        let group = GroupName::new("orders").unwrap();
        let terms = NewGroup { ttl: span(ttl), suspicion: span(suspicion), ..NewGroup::new(group) }.terms();
        (terms.ttl.as_millis(), terms.suspicion.as_millis())
    };
    assert_eq!(new(None, None), (250, 400));
    assert_eq!(new(Some(1_000), None), (1_000, 1_150));
    assert_eq!(new(None, Some(300)), (250, 300));
}
