//! The way to the nodes: several endpoints, connected when needed, tried one after the other, every call with a deadline.
//!
//! Any node answers any call, so the client stays with the one that answered last and moves on only when it fails.
//! Reads are repeated freely. What changes something is sent again only when it was certainly not carried out: when no
//! connection came about, or when the node itself said that it cannot.

use crate::backoff::Backoff;
use crate::error::{Error, Tried};
use crate::fault::{Verdict, judge, root};
use crate::wire::{Attempt, Fault};
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until, timeout};
use tonic::transport::{Channel, Endpoint};

/// How long things may take.
#[derive(Debug, Clone)]
pub struct Options {
    /// A whole call, with all its attempts. Default: 5 s.
    pub timeout: Duration,
    /// One attempt to connect. Default: 500 ms, three times the longest round trip Regent is made for.
    pub connect_timeout: Duration,
    /// A connection on which nothing comes for this long, though asked, is given up. Default: 1 s. It bounds how long
    /// a watch can hang on a node that vanished without a word.
    pub idle_timeout: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_millis(500),
            idle_timeout: Duration::from_secs(1),
        }
    }
}

/// One node, and the connection to it once there is one.
#[derive(Debug)]
struct Link {
    name: String,
    endpoint: Endpoint,
    channel: Mutex<Option<Channel>>,
}

/// All nodes.
#[derive(Debug)]
pub(crate) struct Connection {
    links: Vec<Link>,
    /// The one that answered last.
    preferred: AtomicUsize,
    options: Options,
}

impl Connection {
    pub fn new(endpoints: Vec<String>, options: Options) -> Result<Connection, Error> {
        if endpoints.is_empty() {
            return Err(Error::NoEndpoint);
        }
        let links = endpoints.into_iter().map(|name| Link::new(name, &options)).collect::<Result<_, _>>()?;
        Ok(Connection { links, preferred: AtomicUsize::new(0), options })
    }

    /// How many nodes there are to try.
    pub fn width(&self) -> usize {
        self.links.len()
    }

    /// What one node may take of a call's time: one that hangs must leave enough for the others.
    pub fn share(&self) -> Duration {
        self.options.timeout / u32::try_from(self.links.len()).unwrap_or(u32::MAX)
    }

    /// A call that changes nothing: each node gets its share of the time, round after round until the deadline.
    pub async fn read<T, F>(&self, call: impl Fn(Attempt) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Fault>>,
    {
        let share = self.share();
        let mut round = Round::new(self);
        loop {
            let limit = round.left()?.min(share);
            let link = round.link();
            match link.attempt(limit, &call).await {
                Ok(answer) => return Ok(self.stay(round.index, answer)),
                Err(Verdict::Final(error)) => return Err(error),
                Err(verdict) => round.failed(verdict, limit).await?,
            }
        }
    }

    /// A call that changes something: carried out once at most.
    pub async fn write<T, F>(&self, call: impl Fn(Attempt) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Fault>>,
    {
        let mut round = Round::new(self);
        loop {
            let limit = round.left()?;
            let link = round.link();
            let endpoint = link.name.clone();
            // A fresh connection: on an old one a failure would not tell whether the request had left.
            if let Err(verdict) = link.connect(limit, true).await {
                round.failed(verdict, limit).await?;
                continue;
            }
            match link.attempt(round.left()?, &call).await {
                Ok(answer) => return Ok(self.stay(round.index, answer)),
                Err(verdict @ Verdict::Unable(_)) => round.failed(verdict, limit).await?,
                Err(Verdict::Final(error)) => return Err(error),
                Err(Verdict::InTransition(message)) => return Err(Error::InTransition { message }),
                Err(Verdict::Broken(problem)) => return Err(Error::Interrupted { endpoint, problem }),
                Err(Verdict::Late) => {
                    return Err(Error::DeadlineExceeded { endpoint, after: self.options.timeout });
                }
                Err(Verdict::Compacted) => {
                    let problem = "it speaks of a compacted watch, which was not asked for".to_owned();
                    return Err(Error::Malformed { endpoint, problem });
                }
            }
        }
    }

    /// One attempt at the preferred node, for what lasts longer than a call. After a failure the next one is preferred.
    pub async fn open<T, F>(&self, call: impl Fn(Attempt) -> F) -> Result<(T, String), (Verdict, String)>
    where
        F: Future<Output = Result<T, Fault>>,
    {
        let index = self.preferred.load(Ordering::Relaxed);
        let link = &self.links[index];
        match link.attempt(self.share(), &call).await {
            Ok(answer) => Ok((answer, link.name.clone())),
            Err(verdict) => {
                self.move_on(index);
                Err((verdict, link.name.clone()))
            }
        }
    }

    /// The node that is preferred now fails: prefer the next.
    pub fn leave(&self, endpoint: &str) {
        if let Some(index) = self.links.iter().position(|link| link.name == endpoint) {
            self.move_on(index);
        }
    }

    fn move_on(&self, from: usize) {
        let next = (from + 1) % self.links.len();
        // Somebody else may have moved on already: then that choice stands.
        let _ = self.preferred.compare_exchange(from, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    fn stay<T>(&self, index: usize, answer: T) -> T {
        self.preferred.store(index, Ordering::Relaxed);
        answer
    }
}

impl Link {
    fn new(name: String, options: &Options) -> Result<Link, Error> {
        let valid =
            |(host, port): (&str, &str)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0);
        let bad = || Error::BadEndpoint { got: name.clone() };
        if !name.rsplit_once(':').is_some_and(valid) {
            return Err(bad());
        }
        let endpoint = Endpoint::from_shared(format!("http://{name}")).map_err(|_| bad())?;
        let endpoint = endpoint
            .connect_timeout(options.connect_timeout)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(options.idle_timeout / 2)
            .keep_alive_timeout(options.idle_timeout / 2)
            .keep_alive_while_idle(true);
        Ok(Link { name, endpoint, channel: Mutex::new(None) })
    }

    /// The connection; callers that come together wait for one and the same.
    async fn connect(&self, limit: Duration, fresh: bool) -> Result<Channel, Verdict> {
        let connecting = async {
            let mut kept = self.channel.lock().await;
            if let Some(channel) = kept.as_ref().filter(|_| !fresh) {
                return Ok(channel.clone());
            }
            let channel = self.endpoint.connect().await.map_err(|error| Verdict::Unable(root(&error)))?;
            *kept = Some(channel.clone());
            Ok(channel)
        };
        timeout(limit, connecting).await.unwrap_or(Err(Verdict::Late))
    }

    async fn attempt<T, F>(&self, limit: Duration, call: &impl Fn(Attempt) -> F) -> Result<T, Verdict>
    where
        F: Future<Output = Result<T, Fault>>,
    {
        let end = Instant::now() + limit;
        let channel = self.connect(limit, false).await?;
        let limit = end.saturating_duration_since(Instant::now());
        let fault = match timeout(limit, call(Attempt { channel, limit })).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(fault)) => fault,
            Err(_) => {
                self.forget().await;
                return Err(Verdict::Late);
            }
        };
        let verdict = judge(&self.name, fault);
        if matches!(verdict, Verdict::Broken(_) | Verdict::Late) {
            self.forget().await;
        }
        Err(verdict)
    }

    /// The next call connects anew.
    async fn forget(&self) {
        *self.channel.lock().await = None;
    }
}

/// The attempts of one call.
struct Round<'a> {
    connection: &'a Connection,
    index: usize,
    /// How many nodes failed since the last wait.
    failures: usize,
    backoff: Backoff,
    deadline: Instant,
    tried: Vec<Tried>,
    /// Said by the node asked last, if it did.
    in_transition: Option<String>,
}

impl<'a> Round<'a> {
    fn new(connection: &'a Connection) -> Round<'a> {
        Round {
            connection,
            index: connection.preferred.load(Ordering::Relaxed),
            failures: 0,
            backoff: Backoff::new(),
            deadline: Instant::now() + connection.options.timeout,
            tried: Vec::new(),
            in_transition: None,
        }
    }

    fn link(&self) -> &'a Link {
        &self.connection.links[self.index]
    }

    /// The time left, or what to tell the caller.
    fn left(&mut self) -> Result<Duration, Error> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if !left.is_zero() {
            return Ok(left);
        }
        Err(match self.in_transition.take() {
            Some(message) => Error::InTransition { message },
            None => Error::Unavailable {
                after: self.connection.options.timeout,
                tried: std::mem::take(&mut self.tried),
            },
        })
    }

    /// Moves on to the next node; waits when all have failed in a row.
    async fn failed(&mut self, verdict: Verdict, limit: Duration) -> Result<(), Error> {
        self.in_transition = None;
        let problem = match verdict {
            Verdict::Final(error) => return Err(error),
            Verdict::InTransition(message) => self.in_transition.insert(message).clone(),
            Verdict::Unable(problem) | Verdict::Broken(problem) => problem,
            Verdict::Late => format!("no answer within {}", crate::error::in_words(limit)),
            Verdict::Compacted => "nothing to resume".to_owned(),
        };
        let endpoint = self.link().name.clone();
        self.tried.retain(|tried| tried.endpoint != endpoint);
        self.tried.push(Tried { endpoint, problem });
        self.index = (self.index + 1) % self.connection.links.len();
        self.failures += 1;
        if self.failures.is_multiple_of(self.connection.links.len()) {
            let wake = Instant::now() + self.backoff.wait();
            sleep_until(wake.min(self.deadline)).await;
        }
        Ok(())
    }
}
