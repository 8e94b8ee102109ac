//! Random values of everything that crosses the wire, within what the core can make.

use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use regent_core::command::{Instance, Terms};
use regent_core::ids::{Epoch, GroupName, InstanceName, Lsn, NodeId, Position, RegionName, Revision, Seq};
use regent_core::message::{
    HandOver, KernelFence, Progress, Refusal, Release, Report, Role, Solicit, Standing, Step, ToAgent,
    ToNode, ToWitness,
};
use regent_core::quorum::Electorate;
use regent_core::replication::{Configuration, Mode, Offer, Policy};
use regent_core::state::{Change, Group};
use regent_core::tags::Tags;
use regent_core::tail::Tail;
use regent_core::vote::{Certificate, Reason, Vote};
use std::time::Duration;

pub fn group_name() -> impl Strategy<Value = GroupName> {
    "[a-z0-9][a-z0-9_-]{0,62}".prop_map(|text| GroupName::new(text).unwrap())
}

pub fn instance_name() -> impl Strategy<Value = InstanceName> {
    "[a-z0-9][a-z0-9_-]{0,62}".prop_map(|text| InstanceName::new(text).unwrap())
}

pub fn region() -> impl Strategy<Value = RegionName> {
    "[a-z][a-z0-9-]{0,20}".prop_map(|text| RegionName::new(text).unwrap())
}

pub fn address() -> impl Strategy<Value = String> {
    ("[a-z0-9.]{1,30}", 1u16..).prop_map(|(host, port)| format!("{host}:{port}"))
}

pub fn instance() -> impl Strategy<Value = Instance> {
    (region(), address(), tags()).prop_map(|(region, address, tags)| Instance { region, address, tags })
}

fn tags() -> impl Strategy<Value = Tags> {
    let said = (any::<bool>(), any::<u32>(), any::<bool>(), option::of(instance_name()));
    said.prop_map(|(no_promote, priority, no_load_balance, replicate_from)| Tags {
        no_promote,
        priority,
        no_load_balance,
        replicate_from,
    })
}

fn distinct_names() -> impl Strategy<Value = Vec<InstanceName>> {
    btree_set(instance_name(), 0..5).prop_map(|names| names.into_iter().rev().collect())
}

pub fn electorate() -> impl Strategy<Value = Electorate> {
    btree_set((1u64..).prop_map(NodeId), 1..8)
}

pub fn epoch() -> impl Strategy<Value = Epoch> {
    (1..=i64::MAX as u64).prop_map(Epoch)
}

fn any_epoch() -> impl Strategy<Value = Epoch> {
    (0..=i64::MAX as u64).prop_map(Epoch)
}

fn revision() -> impl Strategy<Value = Revision> {
    (0..=i64::MAX as u64).prop_map(Revision)
}

fn seq() -> impl Strategy<Value = Seq> {
    any::<(u64, u64)>().prop_map(|(incarnation, number)| Seq { incarnation, number })
}

fn span() -> impl Strategy<Value = Duration> {
    (1u64..=3_600_000_000).prop_map(Duration::from_micros)
}

pub fn position() -> impl Strategy<Value = Position> {
    any::<(u32, u64, u64, u64)>().prop_map(|(timeline, received, flushed, replayed)| Position {
        timeline,
        received: Lsn(received),
        flushed: Lsn(flushed),
        replayed: Lsn(replayed),
    })
}

pub fn reason() -> impl Strategy<Value = Reason> {
    use Reason::{First, Joined, PostgresDied, PostgresHung, Reaffirmed, Silent, Switchover, Terms};
    prop::sample::select(vec![
        Silent,
        PostgresDied,
        Switchover,
        Joined,
        Reaffirmed,
        Terms,
        First,
        PostgresHung,
    ])
}

pub fn role() -> impl Strategy<Value = Role> {
    prop::sample::select(vec![Role::Preparing, Role::Stopped, Role::Standby, Role::Primary, Role::Refused])
}

pub fn vote() -> impl Strategy<Value = Vote> {
    let who = (group_name(), 1u64.., instance_name(), distinct_names(), electorate());
    let when = (epoch(), any::<(prop::sample::Index, prop::sample::Index)>(), revision());
    let why = (reason(), configuration());
    (who, when, option::of(seq()), span(), why).prop_map(
        |((group, witness, named, rest, electorate), (floor, (since, basis), revision), seq, ttl, why)| {
            let (reason, configuration) = why;
            Vote {
                group,
                witness: NodeId(witness),
                floor,
                named,
                since: Epoch(since.index(usize::try_from(floor.0).unwrap()) as u64),
                rest,
                seq,
                ttl,
                basis: Epoch(basis.index(usize::try_from(floor.0).unwrap()) as u64),
                revision,
                electorate,
                configuration,
                reason,
            }
        },
    )
}

/// All members of one vote's electorate say the same.
pub fn certificate() -> impl Strategy<Value = Certificate> {
    vote().prop_map(|vote| {
        let voters = vote.electorate.clone();
        let votes = voters.into_iter().map(|witness| Vote { witness, ..vote.clone() }).collect();
        Certificate::new(votes).unwrap()
    })
}

pub fn report() -> impl Strategy<Value = Report> {
    let who = (group_name(), instance_name(), seq(), role(), position());
    let epochs = (option::of(epoch()), any_epoch(), any_epoch(), any_epoch(), any_epoch());
    let flags = any::<(bool, bool, bool, bool, Option<u64>, u32)>();
    let rest = (option::of(instance_name()), option::of(span()), kernel_fence());
    (who, epochs, flags, ".{0,200}", option::of(progress()), offer(), rest).prop_map(
        |(who, epochs, flags, trouble, hand_over, offer, (through, started_in, kernel_fence))| {
            let (group, instance, seq, role, position) = who;
            let (claims, seen, acted, declined, followed) = epochs;
            let (leased, ready, streaming, gate_armed, system_id, rtt_us) = flags;
            Report {
                group,
                instance,
                seq,
                claims,
                leased,
                ready,
                seen,
                acted,
                declined,
                followed,
                role,
                streaming,
                position,
                system_id,
                gate_armed,
                offer,
                detached: followed,
                rtt_us,
                progress: trouble.chars().rev().collect(),
                started_in,
                pending_restart: trouble.split_whitespace().map(str::to_owned).collect(),
                warning: trouble.chars().skip(1).collect(),
                through,
                trouble,
                hand_over,
                kernel_fence,
            }
        },
    )
}

fn kernel_fence() -> impl Strategy<Value = KernelFence> {
    use KernelFence::{Armed, NotArmed, Off, Ready};
    prop_oneof![Just(Off), Just(Ready), Just(Armed), ".{0,200}".prop_map(NotArmed)]
}

fn hand_over() -> impl Strategy<Value = HandOver> {
    let wish = (epoch(), instance_name(), any::<u64>(), span(), any::<bool>());
    wish.prop_map(|(epoch, to, ticket, wait, restart)| HandOver { epoch, to, ticket, wait, restart })
}

fn progress() -> impl Strategy<Value = Progress> {
    let steps = prop::sample::select(vec![
        Step::Checkpoint,
        Step::CatchUp,
        Step::Held,
        Step::Stopping,
        Step::Starting,
        Step::Restarted,
        Step::Released,
        Step::CalledOff,
    ]);
    (any::<u64>(), instance_name(), steps, ".{0,200}").prop_map(|(ticket, to, step, why)| Progress {
        ticket,
        to,
        step,
        why,
    })
}

fn offer() -> impl Strategy<Value = Option<Offer>> {
    let offer = |(version, members, tightened): (u64, Vec<InstanceName>, Revision)| Offer {
        version,
        members: members.into_iter().collect(),
        tightened,
        count: version.is_multiple_of(2).then_some((version % 200) as u8),
    };
    option::of((any::<u64>(), distinct_names(), revision()).prop_map(offer))
}

fn configuration() -> impl Strategy<Value = Option<Configuration>> {
    option::of(
        (distinct_names(), any::<u8>())
            .prop_map(|(members, count)| Configuration { members: members.into_iter().collect(), count }),
    )
}

fn mode() -> impl Strategy<Value = (Mode, Policy)> {
    let span = prop_oneof![
        (0..10_000_u64).prop_map(Duration::from_millis),
        (0..10_000_000_000_u64).prop_map(Duration::from_nanos)
    ];
    let mode = prop_oneof![
        Just(Mode::Async),
        any::<u8>().prop_map(|count| Mode::Sync { count }),
        (span, any::<u8>()).prop_map(|(rpo, count)| Mode::Bounded { rpo, count }),
        any::<u8>().prop_map(|count| Mode::Quorum { count })
    ];
    (mode, prop::sample::select(vec![Policy::Block, Policy::Degrade]))
}

fn release() -> impl Strategy<Value = Release> {
    (group_name(), instance_name(), epoch(), option::of(instance_name()), reason())
        .prop_map(|(group, instance, epoch, to, reason)| Release { group, instance, epoch, to, reason })
}

pub fn to_witness() -> impl Strategy<Value = ToWitness> {
    prop_oneof![
        (group_name(), instance_name(), instance()).prop_map(|(group, instance, at)| ToWitness::Hello {
            group,
            instance,
            at
        }),
        report().prop_map(|report| ToWitness::Report(Box::new(report))),
        release().prop_map(ToWitness::Release),
        certificate().prop_map(ToWitness::Show),
        (group_name(), tail()).prop_map(|(group, tail)| ToWitness::Tail { group, tail }),
    ]
}

fn tail() -> impl Strategy<Value = Tail> {
    let numbers = (any::<u32>(), any::<u32>(), any::<u32>(), any::<u64>(), any::<u64>());
    (instance_name(), epoch(), numbers, "[a-z/]{0,40}").prop_map(|(instance, epoch, numbers, kept)| {
        let (timeline, from, bytes, commits, found_unix_ms) = numbers;
        let (from, to) = (Lsn(from.into()), Lsn(u64::from(from) + u64::from(bytes)));
        Tail { instance, epoch, timeline, from, to, commits, kept, found_unix_ms }
    })
}

fn refusal() -> impl Strategy<Value = Refusal> {
    prop_oneof![
        any_epoch().prop_map(|floor| Refusal::Stale { floor }),
        Just(Refusal::NoWord),
        instance_name().prop_map(|named| Refusal::NamedOther { named }),
        instance_name().prop_map(|holder| Refusal::Promised { holder }),
        Just(Refusal::Young),
        Just(Refusal::Pending),
        Just(Refusal::NotInElectorate),
    ]
}

pub fn to_agent() -> impl Strategy<Value = ToAgent> {
    prop_oneof![
        group().prop_map(|group| ToAgent::Known(Box::new(group))),
        (group_name(), epoch(), seq(), span(), revision()).prop_map(|(group, epoch, seq, ttl, revision)| {
            ToAgent::Promised { group, epoch, seq, ttl, revision }
        }),
        (group_name(), seq(), option::of(refusal()), any_epoch(), any::<u64>()).prop_map(
            |(group, seq, refused, promoted, ahead)| {
                let ahead = Lsn(ahead);
                ToAgent::Heard { group, seq, refused, promoted, ahead }
            }
        ),
        (group_name(), instance_name(), epoch(), position()).prop_map(
            |(group, instance, epoch, position)| ToAgent::Detached { group, instance, epoch, position }
        ),
        vote().prop_map(ToAgent::Vote),
        certificate().prop_map(ToAgent::Decided),
        (group_name(), epoch()).prop_map(|(group, up_to)| ToAgent::Decline { group, up_to }),
        (group_name(), hand_over()).prop_map(|(group, wish)| ToAgent::HandOver { group, wish }),
        (group_name(), any::<u32>(), any::<u64>()).prop_map(|(group, timeline, from)| {
            ToAgent::TailRecorded { group, timeline, from: Lsn(from) }
        }),
    ]
}

fn solicit() -> impl Strategy<Value = Solicit> {
    (group_name(), epoch(), instance_name(), revision(), reason())
        .prop_map(|(group, epoch, named, revision, reason)| Solicit { group, epoch, named, revision, reason })
}

pub fn standing() -> impl Strategy<Value = Standing> {
    let who = (group_name(), 1u64.., option::of(instance_name()), option::of(instance_name()));
    let numbers = (any_epoch(), any_epoch(), revision());
    let lists = (btree_set((1u64..).prop_map(NodeId), 0..8), distinct_names());
    let heard = vec((instance_name(), any::<u32>()), 0..5);
    (who, numbers, lists, option::of((instance_name(), epoch())), heard).prop_map(
        |((group, witness, named, primary), (floor, epoch, revision), lists, promised, hears)| Standing {
            group,
            witness: NodeId(witness),
            floor,
            named,
            epoch,
            primary,
            revision,
            electorate: lists.0,
            promised,
            may_name: lists.1,
            hears,
        },
    )
}

pub fn to_node() -> impl Strategy<Value = ToNode> {
    prop_oneof![
        vote().prop_map(ToNode::Vote),
        certificate().prop_map(ToNode::Decided),
        solicit().prop_map(ToNode::Solicit),
        standing().prop_map(ToNode::Standing),
    ]
}

pub fn change() -> impl Strategy<Value = Change> {
    let positions = btree_map(instance_name(), position(), 0..4);
    let since = any::<prop::sample::Index>();
    let tails = vec(tail(), 0..3);
    (revision(), epoch(), since, instance_name(), reason(), electorate(), positions, (any::<u64>(), tails))
        .prop_map(|(revision, epoch, since, primary, reason, voters, positions, (at_unix_ms, tails))| {
            Change {
                revision,
                epoch,
                primary,
                since: Epoch(since.index(usize::try_from(epoch.0).unwrap()) as u64 + 1),
                reason,
                voters: voters.into_iter().rev().collect(),
                positions,
                at_unix_ms,
                tails,
            }
        })
}

pub fn group() -> impl Strategy<Value = Group> {
    let names = (group_name(), option::of((instance_name(), epoch())), option::of(instance_name()));
    let electorates = (electorate(), option::of(electorate()), option::of(electorate()));
    let terms = (span(), span(), any::<u64>(), mode(), any::<u64>());
    let lists = (distinct_names(), btree_map(instance_name(), instance(), 0..5), vec(change(), 0..4));
    let database = (any::<Option<u64>>(), configuration());
    (names, revision(), electorates, terms, lists, database).prop_map(
        |(
            (name, primary, first),
            revision,
            electorates,
            (ttl, suspicion, max_promotion_lag, (mode, policy), offered),
            lists,
            (system_id, configuration),
        )| {
            let (primary, epoch) = primary.unzip();
            let epoch = epoch.unwrap_or_default();
            Group {
                name,
                revision,
                epoch,
                primary,
                since: epoch,
                succession: lists.0,
                offered,
                configuration,
                electorate: electorates.0,
                former_electorate: electorates.1,
                desired_electorate: electorates.2,
                terms: Terms { ttl, suspicion, mode, max_promotion_lag, policy },
                mode_since: revision,
                tightened: revision,
                offered_under: revision,
                first,
                instances: lists.1,
                system_id,
                timeline_base: system_id.map_or(0, |id| id as u32),
                history: lists.2,
            }
        },
    )
}
