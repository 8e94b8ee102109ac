//! What agents and witnesses say to each other.

use super::field::{
    ConvertError, address, epoch, few, filled, fitting, fitting_micros, micros, name, names, optional_name,
    real_epoch, required, revision, span, text,
};
use super::group::{tags, wire_tags};
use super::hand_over::{asked_of, hand_over};
use super::status::somebody;
use super::tail;
use super::vote::{reason, role};
use crate::v1;
use crate::v1::agent_message::Message as Said;
use crate::v1::refusal::Kind;
use crate::v1::witness_message::Message as Answered;
use regent_core::command::Instance;
use regent_core::ids::{GroupName, InstanceName, Lsn};
use regent_core::message::{KernelFence, Progress, Refusal, Release, Report, ToAgent, ToWitness};
use regent_core::replication::Offer;

/// A message of an agent, as it came in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FromAgent {
    /// The cluster the agent means to speak to: in every Hello, and only there.
    pub cluster: Option<String>,
    /// What it says.
    pub message: ToWitness,
}

/// The first message of an agent for a group.
pub fn hello(cluster: &str, group: GroupName, instance: InstanceName, at: Instance) -> v1::AgentMessage {
    agent_message(cluster, ToWitness::Hello { group, instance, at })
}

/// A message of an agent of this cluster, for the wire.
pub fn agent_message(cluster: &str, message: ToWitness) -> v1::AgentMessage {
    let said = match message {
        ToWitness::Hello { group, instance, at } => Said::Hello(v1::Hello {
            cluster: cluster.to_owned(),
            group: group.into(),
            instance: instance.into(),
            region: at.region.into(),
            address: at.address,
            tags: wire_tags(at.tags),
        }),
        ToWitness::Report(report) => Said::Report((*report).into()),
        ToWitness::Release(release) => Said::Release(release.into()),
        ToWitness::Show(certificate) => Said::Show(certificate.into()),
        ToWitness::Tail { group, tail } => Said::LeftBehind(tail::told(group, tail)),
    };
    v1::AgentMessage { message: Some(said) }
}

impl TryFrom<v1::AgentMessage> for FromAgent {
    type Error = ConvertError;
    fn try_from(message: v1::AgentMessage) -> Result<FromAgent, ConvertError> {
        let (field, converted) = match required("message", message.message)? {
            Said::Hello(hello) => ("hello", greeting(hello)),
            Said::Report(report) => {
                ("report", report.try_into().map(|report| ToWitness::Report(Box::new(report))).map(later))
            }
            Said::Release(release) => ("release", release.try_into().map(ToWitness::Release).map(later)),
            Said::Show(certificate) => ("show", certificate.try_into().map(ToWitness::Show).map(later)),
            Said::LeftBehind(left) => ("left_behind", tail::heard(left).map(later)),
        };
        converted.map_err(|error: ConvertError| error.within(field))
    }
}

fn later(message: ToWitness) -> FromAgent {
    FromAgent { cluster: None, message }
}

fn greeting(hello: v1::Hello) -> Result<FromAgent, ConvertError> {
    let cluster = Some(filled("cluster", hello.cluster)?);
    let at = Instance {
        region: name("region", hello.region)?,
        address: address("address", hello.address)?,
        tags: tags(hello.tags)?,
    };
    let group = name("group", hello.group)?;
    let instance = name("instance", hello.instance)?;
    Ok(FromAgent { cluster, message: ToWitness::Hello { group, instance, at } })
}

impl From<Report> for v1::Report {
    fn from(report: Report) -> v1::Report {
        v1::Report {
            group: report.group.into(),
            instance: report.instance.into(),
            seq: Some(report.seq.into()),
            claims: report.claims.map(|epoch| epoch.0),
            leased: report.leased,
            ready: report.ready,
            seen: report.seen.0,
            acted: report.acted.0,
            declined: report.declined.0,
            followed: report.followed.0,
            role: v1::Role::from(report.role).into(),
            streaming: report.streaming,
            position: Some(report.position.into()),
            system_id: report.system_id,
            gate_armed: report.gate_armed,
            offer: report.offer.map(Into::into),
            detached: report.detached.0,
            rtt_us: report.rtt_us,
            trouble: fitting(report.trouble),
            hand_over: report.hand_over.map(Into::into),
            progress: fitting(report.progress),
            started_in_us: report.started_in.map(fitting_micros),
            pending_restart: report.pending_restart.into_iter().map(fitting).collect(),
            through: report.through.map(Into::into).unwrap_or_default(),
            warning: fitting(report.warning),
            kernel_fence: wire_fence(report.kernel_fence),
        }
    }
}

impl TryFrom<v1::Report> for Report {
    type Error = ConvertError;
    fn try_from(report: v1::Report) -> Result<Report, ConvertError> {
        Ok(Report {
            group: name("group", report.group)?,
            instance: name("instance", report.instance)?,
            seq: required("seq", report.seq)?.into(),
            claims: report.claims.map(|got| real_epoch("claims", got)).transpose()?,
            leased: report.leased,
            ready: report.ready,
            seen: epoch("seen", report.seen)?,
            acted: epoch("acted", report.acted)?,
            declined: epoch("declined", report.declined)?,
            followed: epoch("followed", report.followed)?,
            role: role("role", report.role)?,
            streaming: report.streaming,
            position: required("position", report.position)?.into(),
            system_id: report.system_id,
            gate_armed: report.gate_armed,
            offer: report.offer.map(Offer::try_from).transpose()?,
            detached: epoch("detached", report.detached)?,
            rtt_us: report.rtt_us,
            trouble: text("trouble", report.trouble)?,
            hand_over: report
                .hand_over
                .map(|progress| Progress::try_from(progress).map_err(|error| error.within("hand_over")))
                .transpose()?,
            progress: text("progress", report.progress)?,
            started_in: report.started_in_us.map(|got| span("started_in_us", got)).transpose()?,
            pending_restart: report
                .pending_restart
                .into_iter()
                .map(|name| text("pending_restart", name))
                .collect::<Result<_, _>>()?,
            through: somebody("through", report.through)?,
            warning: text("warning", report.warning)?,
            kernel_fence: kernel_fence(report.kernel_fence)?,
        })
    }
}

fn wire_fence(fence: KernelFence) -> Option<v1::KernelFence> {
    let (armed, why_not) = match fence {
        KernelFence::Off => return None,
        KernelFence::Ready => (false, None),
        KernelFence::Armed => (true, None),
        KernelFence::NotArmed(why) => (false, Some(fitting(why))),
    };
    Some(v1::KernelFence { armed, why_not })
}

fn kernel_fence(fence: Option<v1::KernelFence>) -> Result<KernelFence, ConvertError> {
    let Some(v1::KernelFence { armed, why_not }) = fence else { return Ok(KernelFence::Off) };
    Ok(match why_not {
        _ if armed => KernelFence::Armed,
        None => KernelFence::Ready,
        Some(why) => KernelFence::NotArmed(text("why_not", why)?),
    })
}

impl From<Offer> for v1::Offer {
    fn from(offer: Offer) -> v1::Offer {
        let members = offer.members.into_iter().map(Into::into).collect();
        let (tightened, count) = (offer.tightened.0, offer.count.map(u32::from));
        v1::Offer { version: offer.version, members, tightened, count }
    }
}

impl TryFrom<v1::Offer> for Offer {
    type Error = ConvertError;
    fn try_from(offer: v1::Offer) -> Result<Offer, ConvertError> {
        let members = names("offer.members", offer.members)?;
        let tightened = revision("offer.tightened", offer.tightened)?;
        let count = offer.count.map(|got| few("offer.count", got)).transpose()?;
        Ok(Offer { version: offer.version, members: members.into_iter().collect(), tightened, count })
    }
}

impl From<Release> for v1::Release {
    fn from(release: Release) -> v1::Release {
        v1::Release {
            group: release.group.into(),
            instance: release.instance.into(),
            epoch: release.epoch.0,
            to: release.to.map(Into::into),
            reason: v1::Reason::from(release.reason).into(),
        }
    }
}

impl TryFrom<v1::Release> for Release {
    type Error = ConvertError;
    fn try_from(release: v1::Release) -> Result<Release, ConvertError> {
        Ok(Release {
            group: name("group", release.group)?,
            instance: name("instance", release.instance)?,
            epoch: real_epoch("epoch", release.epoch)?,
            to: optional_name("to", release.to)?,
            reason: reason("reason", release.reason)?,
        })
    }
}

impl From<ToAgent> for v1::WitnessMessage {
    fn from(message: ToAgent) -> v1::WitnessMessage {
        let answered = match message {
            ToAgent::Known(group) => Answered::Known((*group).into()),
            ToAgent::Promised { group, epoch, seq, ttl, revision } => Answered::Promised(v1::Promised {
                group: group.into(),
                epoch: epoch.0,
                seq: Some(seq.into()),
                ttl_us: micros(ttl),
                revision: revision.0,
            }),
            ToAgent::Heard { group, seq, refused, promoted, ahead } => Answered::Heard(v1::Heard {
                group: group.into(),
                seq: Some(seq.into()),
                refused: refused.map(Into::into),
                promoted: promoted.0,
                ahead: ahead.0,
            }),
            ToAgent::Vote(vote) => Answered::Vote(vote.into()),
            ToAgent::Decided(certificate) => Answered::Decided(certificate.into()),
            ToAgent::Decline { group, up_to } => {
                Answered::Decline(v1::Decline { group: group.into(), up_to: up_to.0 })
            }
            ToAgent::HandOver { group, wish } => Answered::HandOver(asked_of(group, wish)),
            ToAgent::Detached { group, instance, epoch, position } => Answered::Detached(v1::Detached {
                group: group.into(),
                instance: instance.into(),
                epoch: epoch.0,
                position: Some(position.into()),
            }),
            ToAgent::TailRecorded { group, timeline, from } => {
                Answered::TailRecorded(v1::TailRecorded { group: group.into(), timeline, from: from.0 })
            }
        };
        v1::WitnessMessage { message: Some(answered) }
    }
}

impl TryFrom<v1::WitnessMessage> for ToAgent {
    type Error = ConvertError;
    fn try_from(message: v1::WitnessMessage) -> Result<ToAgent, ConvertError> {
        let (field, converted) = match required("message", message.message)? {
            Answered::Known(group) => {
                ("known", group.try_into().map(|group| ToAgent::Known(Box::new(group))))
            }
            Answered::Promised(promised) => ("promised", promise(promised)),
            Answered::Heard(heard) => ("heard", answer(heard)),
            Answered::Vote(vote) => ("vote", vote.try_into().map(ToAgent::Vote)),
            Answered::Decided(certificate) => ("decided", certificate.try_into().map(ToAgent::Decided)),
            Answered::Decline(asked) => ("decline", decline(asked)),
            Answered::HandOver(asked) => ("hand_over", hand_over(asked)),
            Answered::Detached(other) => ("detached", detached(other)),
            Answered::TailRecorded(of) => ("tail_recorded", tail::recorded(of)),
        };
        converted.map_err(|error: ConvertError| error.within(field))
    }
}

fn promise(promised: v1::Promised) -> Result<ToAgent, ConvertError> {
    Ok(ToAgent::Promised {
        group: name("group", promised.group)?,
        epoch: real_epoch("epoch", promised.epoch)?,
        seq: required("seq", promised.seq)?.into(),
        ttl: span("ttl_us", promised.ttl_us)?,
        revision: revision("revision", promised.revision)?,
    })
}

fn answer(heard: v1::Heard) -> Result<ToAgent, ConvertError> {
    let refused = heard.refused.map(Refusal::try_from).transpose();
    Ok(ToAgent::Heard {
        group: name("group", heard.group)?,
        seq: required("seq", heard.seq)?.into(),
        refused: refused.map_err(|error| error.within("refused"))?,
        promoted: epoch("promoted", heard.promoted)?,
        ahead: Lsn(heard.ahead),
    })
}

fn detached(other: v1::Detached) -> Result<ToAgent, ConvertError> {
    Ok(ToAgent::Detached {
        group: name("group", other.group)?,
        instance: name("instance", other.instance)?,
        epoch: real_epoch("epoch", other.epoch)?,
        position: required("position", other.position)?.into(),
    })
}

fn decline(asked: v1::Decline) -> Result<ToAgent, ConvertError> {
    Ok(ToAgent::Decline { group: name("group", asked.group)?, up_to: real_epoch("up_to", asked.up_to)? })
}

impl From<Refusal> for v1::Refusal {
    fn from(refusal: Refusal) -> v1::Refusal {
        let (kind, floor, instance) = match refusal {
            Refusal::Stale { floor } => (Kind::Stale, floor.0, String::new()),
            Refusal::NoWord => (Kind::NoWord, 0, String::new()),
            Refusal::NamedOther { named } => (Kind::NamedOther, 0, named.into()),
            Refusal::Promised { holder } => (Kind::Promised, 0, holder.into()),
            Refusal::Young => (Kind::Young, 0, String::new()),
            Refusal::Pending => (Kind::Pending, 0, String::new()),
            Refusal::NotInElectorate => (Kind::NotInElectorate, 0, String::new()),
        };
        v1::Refusal { kind: kind.into(), floor, instance }
    }
}

impl TryFrom<v1::Refusal> for Refusal {
    type Error = ConvertError;
    fn try_from(refusal: v1::Refusal) -> Result<Refusal, ConvertError> {
        let unknown = |_| ConvertError::new("kind", "a kind of 0 to 6", refusal.kind);
        Ok(match Kind::try_from(refusal.kind).map_err(unknown)? {
            Kind::Stale => Refusal::Stale { floor: epoch("floor", refusal.floor)? },
            Kind::NoWord => Refusal::NoWord,
            Kind::NamedOther => Refusal::NamedOther { named: name("instance", refusal.instance)? },
            Kind::Promised => Refusal::Promised { holder: name("instance", refusal.instance)? },
            Kind::Young => Refusal::Young,
            Kind::Pending => Refusal::Pending,
            Kind::NotInElectorate => Refusal::NotInElectorate,
        })
    }
}
