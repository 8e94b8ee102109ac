//! Who leads: asked once, or watched.

use crate::backoff::Backoff;
use crate::connection::{Connection, Options};
use crate::error::{Error, Tried, in_words};
use crate::fault::{Verdict, judge};
use crate::wire;
use async_stream::stream;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use regent_core::ids::{Epoch, GroupName};
use regent_proto::api::{Assignment, Consistency, PrimaryQuery, Told, WatchQuery};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::time::sleep;

/// A client of a Regent cluster. Cheap to clone; clones share their connections.
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) connection: Arc<Connection>,
}

/// What a watch tells.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Who is primary as the watch begins, or begins anew.
    Present(Assignment),
    /// The primary, or its epoch, changed.
    Changed {
        /// Who is primary now.
        assignment: Assignment,
        /// Epochs passed over, which have no event of their own.
        jumped: Vec<Epoch>,
        /// Why, in words.
        reason: String,
    },
    /// The watch was interrupted for so long that changes were missed which no node keeps any more. It begins anew:
    /// the present state of every group follows.
    Compacted,
    /// No node can be reached. Attempts go on; when one succeeds, what was missed follows, then what is new.
    Lost {
        /// What became of the last attempt at each endpoint.
        tried: Vec<Tried>,
    },
}

impl Client {
    /// A client of the nodes at these endpoints, each `host:port`. Nothing is connected until the first call.
    ///
    /// # Errors
    /// [`Error::NoEndpoint`], [`Error::BadEndpoint`].
    pub fn new<S: Into<String>>(endpoints: impl IntoIterator<Item = S>) -> Result<Client, Error> {
        Client::with_options(endpoints, Options::default())
    }

    /// As [`Client::new`], with other time limits.
    ///
    /// # Errors
    /// [`Error::NoEndpoint`], [`Error::BadEndpoint`].
    pub fn with_options<S: Into<String>>(
        endpoints: impl IntoIterator<Item = S>,
        options: Options,
    ) -> Result<Client, Error> {
        let endpoints = endpoints.into_iter().map(Into::into).collect();
        Ok(Client { connection: Arc::new(Connection::new(endpoints, options)?) })
    }

    /// Who is primary of the group. A linearizable answer is never older than any given before the call, by any node
    /// to anybody; a local one is what the asked node knows, at once, with its age.
    ///
    /// # Errors
    /// [`Error::NotFound`] names the groups there are; [`Error::InTransition`] and [`Error::Unavailable`] when the
    /// deadline passed.
    pub async fn primary(&self, group: &GroupName, consistency: Consistency) -> Result<Assignment, Error> {
        let query = PrimaryQuery { group: group.clone(), consistency };
        self.connection.read(|attempt| wire::primary(attempt, query.clone())).await
    }

    /// Watches these groups, or all of them when none is named. Per group, epochs strictly increase. The watch goes on
    /// at another node by itself when one fails, without losing or repeating a change; it says so when it cannot.
    ///
    /// The stream ends only after an error, which is one that trying again would not cure: [`Error::NotFound`],
    /// [`Error::Invalid`], [`Error::Refused`], [`Error::Malformed`], [`Error::Failed`].
    pub fn watch(
        &self,
        groups: impl IntoIterator<Item = GroupName>,
    ) -> BoxStream<'static, Result<Event, Error>> {
        let connection = Arc::clone(&self.connection);
        let groups = groups.into_iter().collect();
        watch(connection, Progress { query: WatchQuery { groups, from: BTreeMap::new() } }).boxed()
    }
}

fn watch(
    connection: Arc<Connection>,
    mut progress: Progress,
) -> impl Stream<Item = Result<Event, Error>> + Send {
    stream! {
        let mut outage = Outage::new(connection.width());
        loop {
            let query = progress.query.clone();
            let (verdict, endpoint) = match connection.open(|attempt| wire::watch(attempt, query.clone())).await {
                Err(failure) => failure,
                Ok((mut events, endpoint)) => loop {
                    match events.next().await {
                        Some(Ok(told)) => {
                            outage.over();
                            if let Some(event) = progress.take(told) {
                                outage.backoff.reset();
                                yield Ok(event);
                            }
                        }
                        Some(Err(fault)) => break (judge(&endpoint, fault), endpoint),
                        None => break (Verdict::Unable("the node ended the watch".to_owned()), endpoint),
                    }
                },
            };
            let problem = match verdict {
                Verdict::Final(error) => {
                    yield Err(error);
                    return;
                }
                Verdict::Compacted if progress.forget() => {
                    yield Ok(Event::Compacted);
                    continue;
                }
                Verdict::Compacted => "it cannot resume a watch that begins anew".to_owned(),
                Verdict::Unable(problem) | Verdict::Broken(problem) | Verdict::InTransition(problem) => problem,
                Verdict::Late => format!("no answer within {}", in_words(connection.share())),
            };
            connection.leave(&endpoint);
            if let Some(tried) = outage.failed(Tried { endpoint, problem }) {
                yield Ok(Event::Lost { tried });
            }
            sleep(outage.backoff.wait()).await;
        }
    }
}

/// What the caller was told already.
struct Progress {
    query: WatchQuery,
}

impl Progress {
    /// The event for the caller, unless it has heard as much.
    fn take(&mut self, told: Told) -> Option<Event> {
        let Told { assignment, present, jumped, reason } = told;
        let seen = self.query.from.get(&assignment.group);
        if seen.is_some_and(|seen| assignment.epoch <= *seen) {
            return None;
        }
        self.query.from.insert(assignment.group.clone(), assignment.epoch);
        Some(if present { Event::Present(assignment) } else { Event::Changed { assignment, jumped, reason } })
    }

    /// Begins anew; says whether there was anything to forget.
    fn forget(&mut self) -> bool {
        !std::mem::take(&mut self.query.from).is_empty()
    }
}

/// The attempts since a node was last heard.
struct Outage {
    width: usize,
    tried: Vec<Tried>,
    told: bool,
    backoff: Backoff,
}

impl Outage {
    fn new(width: usize) -> Outage {
        Outage { width, tried: Vec::new(), told: false, backoff: Backoff::new() }
    }

    /// A node speaks.
    fn over(&mut self) {
        self.tried.clear();
        self.told = false;
    }

    /// An attempt failed; the whole list, once, when every node has.
    fn failed(&mut self, attempt: Tried) -> Option<Vec<Tried>> {
        self.tried.retain(|tried| tried.endpoint != attempt.endpoint);
        self.tried.push(attempt);
        let all = self.tried.len() == self.width && !self.told;
        self.told |= all;
        all.then(|| self.tried.clone())
    }
}
