//! Who leads: the reads and the watches.

use super::{patience, stopping};
use crate::node::{Book, Handle};
use crate::reads::{ReadError, Reads};
use crate::watch::{Hub, Watch, WatchError};
use regent_core::ids::{Epoch, GroupName};
use regent_core::time::Time;
use regent_proto::api::{Assignment, Consistency, PrimaryQuery, Told, WatchQuery};
use regent_proto::convert::rejection;
use regent_proto::v1;
use regent_proto::v1::leadership_server::Leadership;
use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio_stream::Stream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

/// See above.
#[derive(Clone)]
pub struct Service {
    /// The loop.
    pub node: Handle,
    /// Linearizable reads.
    pub reads: Reads,
    /// What watchers are told.
    pub hub: Arc<Hub>,
    /// When streams have to end.
    pub stop: CancellationToken,
}

#[tonic::async_trait]
impl Leadership for Service {
    async fn get_primary(
        &self,
        request: Request<v1::GetPrimaryRequest>,
    ) -> Result<Response<v1::Assignment>, Status> {
        let patience = patience(&request);
        let PrimaryQuery { group, consistency } = request.into_inner().try_into()?;
        let assignment = match consistency {
            Consistency::Local => self.local(&group).await?,
            Consistency::Linearizable => self.reads.primary(&group, patience).await.map_err(read_failed)?,
        };
        Ok(Response::new(assignment.into()))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<v1::WatchEvent, Status>> + Send>>;

    async fn watch(&self, request: Request<v1::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let query: WatchQuery = request.into_inner().try_into()?;
        let watch = self.hub.watch(&query).map_err(watch_failed)?;
        Ok(Response::new(Box::pin(events(watch, query.groups, self.stop.clone()))))
    }
}

impl Service {
    async fn local(&self, group: &GroupName) -> Result<Assignment, Status> {
        let assignment = self.hub.present(group).map_err(|unknown| rejection(&unknown))?;
        let Some(primary) = assignment.primary.as_ref().map(|primary| primary.instance.clone()) else {
            return Ok(assignment);
        };
        let (group, epoch) = (group.clone(), assignment.epoch);
        let look = move |book: &Book, now: Time| {
            let claimed = book.view.group(&group).last_report(&primary);
            let claimed = claimed.filter(|(report, _)| report.claims == Some(epoch));
            now.since(claimed.map_or(book.witness.started(), |(_, at)| at))
        };
        let age: Duration = self.node.ask(look).await.map_err(stopping)?;
        Ok(Assignment { age, ..assignment })
    }
}

fn read_failed(error: ReadError) -> Status {
    let text = error.to_string();
    match error {
        ReadError::Unknown(unknown) => rejection(&unknown),
        ReadError::NoMajority { .. } | ReadError::Stopping(_) => Status::unavailable(text),
        ReadError::InTransition { .. } => Status::aborted(text),
    }
}

fn watch_failed(error: WatchError) -> Status {
    match error {
        WatchError::Unknown(unknown) => rejection(&unknown),
        WatchError::Compacted { .. } => Status::out_of_range(error.to_string()),
    }
}

/// What was first, then the news, until the watcher goes, falls behind, or the node stops.
fn events(
    watch: Watch,
    groups: BTreeSet<GroupName>,
    stop: CancellationToken,
) -> impl Stream<Item = Result<v1::WatchEvent, Status>> {
    let Watch { first, mut seen, mut news } = watch;
    async_stream::stream! {
        for told in first {
            yield Ok(told.into());
        }
        loop {
            let received = tokio::select! {
                received = news.recv() => received,
                () = stop.cancelled() => {
                    yield Err(stopping(crate::node::Stopping));
                    break;
                }
            };
            match received {
                Ok(told) => {
                    let group = &told.assignment.group;
                    let last = seen.get(group).copied().unwrap_or(Epoch(0));
                    let wanted = groups.is_empty() || groups.contains(group);
                    if wanted && told.assignment.epoch > last {
                        seen.insert(group.clone(), told.assignment.epoch);
                        yield Ok(Told::clone(&told).into());
                    }
                }
                Err(RecvError::Lagged(missed)) => {
                    let text = format!(
                        "this watcher reads too slowly and missed {missed} events; watch again with `from` set to the last \
                         epoch seen"
                    );
                    yield Err(Status::resource_exhausted(text));
                    break;
                }
                Err(RecvError::Closed) => break,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::testing::{begun, group, record, tell};
    use tokio_stream::StreamExt;
    use tonic::Code;

    fn query(from: Option<u64>) -> WatchQuery {
        let from = from.map(|epoch| (group(), Epoch(epoch))).into_iter().collect();
        WatchQuery { from, ..WatchQuery::default() }
    }

    #[tokio::test]
    async fn a_watcher_that_reads_too_slowly_is_told_so_and_can_come_back() {
        let (hub, mut state) = (Hub::default(), begun());
        tell(&hub, &state);
        let watch = hub.watch(&query(None)).unwrap();
        let mut slow = std::pin::pin!(events(watch, BTreeSet::new(), CancellationToken::new()));
        for epoch in 2..=1_200 {
            record(&mut state, epoch);
            tell(&hub, &state);
        }
        let first = slow.next().await.unwrap().unwrap();
        assert!(first.present);
        let end = slow.next().await.unwrap().unwrap_err();
        assert_eq!(end.code(), Code::ResourceExhausted, "{end}");
        assert!(end.message().contains("watch again with `from`"), "{end}");
        assert!(slow.next().await.is_none());
        // What it missed is no longer kept in whole: it is told that too, and what to do.
        let compacted = watch_failed(hub.watch(&query(Some(1))).err().unwrap());
        assert_eq!(compacted.code(), Code::OutOfRange, "{compacted}");
        assert!(compacted.message().starts_with("COMPACTED: "), "{compacted}");
        let watch = hub.watch(&query(Some(1_190))).unwrap();
        let mut back = std::pin::pin!(events(watch, BTreeSet::new(), CancellationToken::new()));
        for epoch in 1_191..=1_200 {
            let event = back.next().await.unwrap().unwrap();
            assert_eq!(event.assignment.unwrap().epoch, epoch);
        }
    }
}
