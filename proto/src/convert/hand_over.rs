//! A switchover on its way: what is asked of a primary, how far it says it is, and how that is told to the admin.

use super::answer::millis;
use super::field::{ConvertError, fitting, micros, name, optional_name, real_epoch, required, span, text};
use crate::api::{RestartPlan, Switching, SwitchoverPlan};
use crate::v1;
use regent_core::ids::GroupName;
use regent_core::message::{HandOver, Progress, Step, ToAgent};
use regent_core::restart::How;
use regent_core::switchover::WAIT;
use std::time::Duration;

pub(super) fn asked_of(group: GroupName, wish: HandOver) -> v1::HandOver {
    v1::HandOver {
        group: group.into(),
        epoch: wish.epoch.0,
        to: wish.to.into(),
        ticket: wish.ticket,
        wait_us: micros(wish.wait),
        restart: wish.restart,
    }
}

pub(super) fn hand_over(asked: v1::HandOver) -> Result<ToAgent, ConvertError> {
    let wish = HandOver {
        epoch: real_epoch("epoch", asked.epoch)?,
        to: name("to", asked.to)?,
        ticket: asked.ticket,
        // An older leader does not say.
        wait: if asked.wait_us == 0 { WAIT } else { span("wait_us", asked.wait_us)? },
        restart: asked.restart,
    };
    Ok(ToAgent::HandOver { group: name("group", asked.group)?, wish })
}

impl From<Progress> for v1::Progress {
    fn from(progress: Progress) -> v1::Progress {
        v1::Progress {
            ticket: progress.ticket,
            to: progress.to.into(),
            step: v1::Step::from(progress.step).into(),
            why: fitting(progress.why),
        }
    }
}

impl TryFrom<v1::Progress> for Progress {
    type Error = ConvertError;
    fn try_from(wire: v1::Progress) -> Result<Progress, ConvertError> {
        Ok(Progress {
            ticket: wire.ticket,
            to: name("to", wire.to)?,
            step: step("step", wire.step)?,
            why: text("why", wire.why)?,
        })
    }
}

impl From<Step> for v1::Step {
    fn from(step: Step) -> v1::Step {
        match step {
            Step::Checkpoint => v1::Step::Checkpoint,
            Step::CatchUp => v1::Step::CatchUp,
            Step::Held => v1::Step::Held,
            Step::Stopping => v1::Step::Stopping,
            Step::Released => v1::Step::Released,
            Step::CalledOff => v1::Step::CalledOff,
            Step::Starting => v1::Step::Starting,
            Step::Restarted => v1::Step::Restarted,
        }
    }
}

fn step(field: &str, got: i32) -> Result<Step, ConvertError> {
    let unknown = |_| ConvertError::new(field, "a step of 0 to 7", got);
    Ok(match v1::Step::try_from(got).map_err(unknown)? {
        v1::Step::Checkpoint => Step::Checkpoint,
        v1::Step::CatchUp => Step::CatchUp,
        v1::Step::Held => Step::Held,
        v1::Step::Stopping => Step::Stopping,
        v1::Step::Released => Step::Released,
        v1::Step::CalledOff => Step::CalledOff,
        v1::Step::Starting => Step::Starting,
        v1::Step::Restarted => Step::Restarted,
    })
}

impl From<Switching> for v1::Switching {
    fn from(switching: Switching) -> v1::Switching {
        v1::Switching {
            from: switching.from.into(),
            to: switching.to.into(),
            step: v1::Step::from(switching.step).into(),
            why: switching.why,
            began_ms_ago: millis(switching.began),
            held_ms: switching.held.map(millis),
            over: switching.over,
        }
    }
}

impl TryFrom<v1::Switching> for Switching {
    type Error = ConvertError;
    fn try_from(wire: v1::Switching) -> Result<Switching, ConvertError> {
        Ok(Switching {
            from: name("from", wire.from)?,
            to: name("to", wire.to)?,
            step: step("step", wire.step)?,
            why: wire.why,
            began: Duration::from_millis(wire.began_ms_ago),
            held: wire.held_ms.map(Duration::from_millis),
            over: wire.over,
        })
    }
}

impl From<SwitchoverPlan> for v1::SwitchoverPlan {
    fn from(plan: SwitchoverPlan) -> v1::SwitchoverPlan {
        v1::SwitchoverPlan {
            group: plan.group.into(),
            from: plan.from.into(),
            to: plan.to.into(),
            lag_bytes: plan.lag_bytes,
            pause_ms: plan.pause.map(millis),
        }
    }
}

impl TryFrom<v1::SwitchoverPlan> for SwitchoverPlan {
    type Error = ConvertError;
    fn try_from(wire: v1::SwitchoverPlan) -> Result<SwitchoverPlan, ConvertError> {
        Ok(SwitchoverPlan {
            group: name("group", wire.group)?,
            from: name("from", wire.from)?,
            to: name("to", wire.to)?,
            lag_bytes: wire.lag_bytes,
            pause: wire.pause_ms.map(Duration::from_millis),
        })
    }
}

impl From<RestartPlan> for v1::RestartPlan {
    fn from(plan: RestartPlan) -> v1::RestartPlan {
        let (how, to) = match plan.how {
            How::AsStandby => (v1::RestartHow::AsStandby, None),
            How::InPlace => (v1::RestartHow::InPlace, None),
            How::AfterSwitchover(to) => (v1::RestartHow::AfterSwitchover, Some(to.into())),
        };
        v1::RestartPlan {
            group: plan.group.into(),
            instance: plan.instance.into(),
            how: how.into(),
            to,
            pause_ms: plan.pause.map(millis),
            pending: plan.pending,
        }
    }
}

impl TryFrom<v1::RestartPlan> for RestartPlan {
    type Error = ConvertError;
    fn try_from(wire: v1::RestartPlan) -> Result<RestartPlan, ConvertError> {
        let unknown = |_| ConvertError::new("how", "a way of 0 to 2", wire.how);
        let to = optional_name("to", wire.to)?;
        let how = match v1::RestartHow::try_from(wire.how).map_err(unknown)? {
            v1::RestartHow::AsStandby => How::AsStandby,
            v1::RestartHow::InPlace => How::InPlace,
            v1::RestartHow::AfterSwitchover => How::AfterSwitchover(required("to", to)?),
        };
        Ok(RestartPlan {
            group: name("group", wire.group)?,
            instance: name("instance", wire.instance)?,
            how,
            pause: wire.pause_ms.map(Duration::from_millis),
            pending: wire.pending,
        })
    }
}
