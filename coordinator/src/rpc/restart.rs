//! A restart as a call: asked of the instance once, and watched until it is again what it was, or called off. A primary
//! that would keep commits waiting for too long hands over instead, which stops it as well: it starts as a standby.

use super::admin::Service;
use super::stopping;
use super::switchover::refused;
use crate::node::Book;
use regent_core::message::{HandOver, Role, Step};
use regent_core::plan::HAND_OVER_PATIENCE;
use regent_core::restart::{How, Plan};
use regent_core::state::Group;
use regent_core::time::Time;
use regent_proto::api::{Restart, RestartPlan, Switchover};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use tonic::Status;

/// How often it is looked how far it is.
const LOOK: Duration = Duration::from_millis(20);

impl Service {
    pub(super) async fn look_at_restart(&self, wish: Restart) -> Result<RestartPlan, Status> {
        let asked = wish.clone();
        let look = move |book: &Book, now| book.plan_restart(&asked, now);
        let plan = self.node.ask(look).await.map_err(stopping)?.map_err(refused)?;
        Ok(answer(wish, plan))
    }

    pub(super) async fn carry_out_restart(
        &self,
        wish: Restart,
        deadline: Instant,
    ) -> Result<RestartPlan, Status> {
        self.group(&wish.group)?;
        let plan = self.node.restart(wish.clone()).await.map_err(stopping)?.map_err(refused)?;
        if let How::AfterSwitchover(to) = &plan.how {
            let away = Switchover { group: wish.group.clone(), to: Some(to.clone()), wait: wish.wait };
            self.switch(away, deadline).await?;
            self.streams(&wish, deadline).await?;
        } else {
            self.restarted(&wish, &plan.wish, deadline).await?;
        }
        Ok(answer(wish, plan))
    }

    /// Waits until who was the primary receives from the new one.
    async fn streams(&self, wish: &Restart, deadline: Instant) -> Result<(), Status> {
        let receives = |book: &Book, wish: &Restart, _| {
            let (report, _) = book.view.group(&wish.group).last_report(&wish.instance)?;
            (report.role == Role::Standby && report.streaming).then_some(Ok(()))
        };
        self.wait_for(wish, deadline, receives).await
    }

    /// Waits until the instance says that it has ended.
    async fn restarted(&self, wish: &Restart, asked: &HandOver, deadline: Instant) -> Result<(), Status> {
        let (ticket, epoch) = (asked.ticket, asked.epoch);
        let begun = self.node.ask(|_: &Book, now| now).await.map_err(stopping)?;
        let ended = move |book: &Book, wish: &Restart, now: Time| {
            let view = book.view.group(&wish.group);
            let progress = view.progress(&wish.instance).filter(|progress| progress.ticket == ticket);
            let off =
                |why: &str| Some(Err(format!("the restart of {} was called off: {why}", wish.instance)));
            match progress.map(|progress| progress.step) {
                Some(Step::Restarted) => return Some(Ok(())),
                Some(Step::CalledOff) => return off(&progress?.why),
                None if now >= begun + HAND_OVER_PATIENCE => {
                    let within = HAND_OVER_PATIENCE.as_secs();
                    return off(&format!(
                        "its agent did not take it up within {within} s, or was restarted itself"
                    ));
                }
                _ => {}
            }
            // Who still claims it has not said yet why it gives it up.
            let claims = view
                .last_report(&wish.instance)
                .is_some_and(|(report, at)| report.claims == Some(epoch) && now < at + HAND_OVER_PATIENCE);
            let over = |group: &Group| view.current(group).0 > epoch && !claims;
            let over = book.state().groups.get(&wish.group).is_some_and(over);
            if over {
                off(&format!("epoch {epoch} is over: see `regent history {}`", wish.group))
            } else {
                None
            }
        };
        self.wait_for(wish, deadline, ended).await
    }

    async fn wait_for(
        &self,
        wish: &Restart,
        deadline: Instant,
        ended: impl Fn(&Book, &Restart, Time) -> Option<Result<(), String>> + Clone + Send + 'static,
    ) -> Result<(), Status> {
        let looked = async {
            loop {
                let (asked, ended) = (wish.clone(), ended.clone());
                match self.node.ask(move |book: &Book, now| ended(book, &asked, now)).await {
                    Ok(None) => tokio::time::sleep(LOOK).await,
                    Ok(Some(done)) => return done.map_err(Status::failed_precondition),
                    Err(stopped) => return Err(stopping(stopped)),
                }
            }
        };
        timeout_at(deadline, looked).await.unwrap_or_else(|_| {
            Err(Status::deadline_exceeded(format!(
                "group {}: {} is not back within the time given; it goes on: see `regent status`",
                wish.group, wish.instance
            )))
        })
    }
}

fn answer(wish: Restart, plan: Plan) -> RestartPlan {
    let Plan { how, pause, pending, .. } = plan;
    RestartPlan { group: wish.group, instance: wish.instance, how, pause, pending }
}
