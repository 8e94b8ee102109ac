//! A switchover as a call: asked of the primary once, and watched until it is decided, or called off.

use super::admin::Service;
use super::stopping;
use crate::node::{Book, Stopping};
use regent_core::message::{HandOver, Step};
use regent_core::plan::HAND_OVER_PATIENCE;
use regent_core::switchover::{Plan, Refused};
use regent_proto::api::{Assignment, Switchover, SwitchoverPlan, Told, WatchQuery};
use regent_proto::convert::rejection;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, timeout_at};
use tonic::Status;

/// How often it is looked whether the primary has called it off.
const LOOK: Duration = Duration::from_millis(20);

impl Service {
    pub(super) async fn plan(&self, wish: Switchover) -> Result<SwitchoverPlan, Status> {
        let group = wish.group.clone();
        let look = move |book: &Book, now| book.plan_switchover(&wish, now);
        let plan = self.node.ask(look).await.map_err(stopping)?.map_err(refused)?;
        let Plan { from, wish, lag_bytes, pause } = plan;
        Ok(SwitchoverPlan { group, from, to: wish.to, lag_bytes, pause })
    }

    pub(super) async fn switch(&self, wish: Switchover, deadline: Instant) -> Result<Assignment, Status> {
        self.group(&wish.group)?;
        // Watched before it is asked for, so that it cannot be missed.
        let query = WatchQuery { groups: [wish.group.clone()].into(), ..WatchQuery::default() };
        let mut watch = self.hub.watch(&query).map_err(|error| Status::unavailable(error.to_string()))?;
        let plan = self.node.hand_over(wish.clone()).await.map_err(stopping)?.map_err(refused)?;
        let ended = async {
            tokio::select! {
                moved = moved(&mut watch.news, &wish, &plan.wish) => moved,
                why = self.called_off(&wish, &plan) => Err(why),
            }
        };
        timeout_at(deadline, ended).await.unwrap_or_else(|_| {
            Err(Status::deadline_exceeded(format!(
                "group {}: {} was not decided within the time given; it may still happen: the primary is asked for {} s, \
                 and takes the time it was given: see `regent status`",
                wish.group,
                plan.wish.to,
                HAND_OVER_PATIENCE.as_secs()
            )))
        })
    }

    /// Resolves when the primary says that nothing comes of it.
    async fn called_off(&self, wish: &Switchover, plan: &Plan) -> Status {
        loop {
            tokio::time::sleep(LOOK).await;
            let (group, from, ticket) = (wish.group.clone(), plan.from.clone(), plan.wish.ticket);
            let look = move |book: &Book, _| {
                let (report, _) = book.view.group(&group).last_report(&from)?;
                let progress = report.hand_over.as_ref()?;
                let off = progress.ticket == ticket && progress.step == Step::CalledOff;
                off.then(|| (progress.why.clone(), report.claims.is_some()))
            };
            match self.node.ask(look).await {
                Ok(None) => {}
                Ok(Some((why, stays))) => {
                    let HandOver { to, .. } = &plan.wish;
                    let stays =
                        if stays { format!("; {} goes on as primary", plan.from) } else { String::new() };
                    return Status::failed_precondition(format!(
                        "the switchover of group {} to {to} was called off: {why}{stays}",
                        wish.group
                    ));
                }
                Err(stopped) => return stopping(stopped),
            }
        }
    }
}

/// Resolves when a later epoch is decided.
async fn moved(
    news: &mut Receiver<Arc<Told>>,
    wish: &Switchover,
    asked: &HandOver,
) -> Result<Assignment, Status> {
    loop {
        match news.recv().await {
            Ok(told) if told.assignment.group == wish.group && told.assignment.epoch > asked.epoch => {
                return Ok(told.assignment.clone());
            }
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return Err(stopping(Stopping)),
        }
    }
}

pub(super) fn refused(refused: Refused) -> Status {
    match &refused {
        Refused::Unknown(unknown) => rejection(unknown),
        Refused::UnknownTarget { .. } => Status::not_found(refused.to_string()),
        _ => Status::failed_precondition(refused.to_string()),
    }
}
