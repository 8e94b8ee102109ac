//! Sessions that know one server and no other: open connections that go on writing to it whatever becomes of it, and that wait for
//! each answer as long as it takes. Who was told of no failover is what an old primary has to be fenced from.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::lane::{Account, Lane};
use super::session::{AGAIN, insert, outcome};
use super::{PACE, SESSIONS};
use crate::clock::now_ns;
use crate::history::{History, Outcome};

/// Longer than any run.
const AS_LONG_AS_IT_TAKES: Duration = Duration::from_secs(86_400);

/// The server that they know, and where they are.
pub struct Known {
    /// Region of the clients.
    pub region: &'static str,
    /// The server's place among the instances.
    pub instance: usize,
    /// Its address.
    pub address: SocketAddr,
    /// Where the clients run.
    pub runtime: Handle,
}

/// Running sessions; they stop when this is dropped.
pub struct Stubborn {
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Stubborn {
    /// Starts them.
    pub fn start(known: Known, account: &Account, history: &History) -> Stubborn {
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        for number in 0..SESSIONS {
            let session = Session {
                name: format!("stubborn-{}-{number}", known.region),
                region: known.region,
                instance: known.instance,
                lane: Lane::new(known.address, account),
                history: history.clone(),
                stop: stop.clone(),
            };
            tasks.spawn_on(session.run(), &known.runtime);
        }
        Stubborn { stop, tasks }
    }

    /// Stops them; what is not answered by then is unknown.
    pub async fn stop(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

impl Drop for Stubborn {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

struct Session {
    name: String,
    region: &'static str,
    instance: usize,
    lane: Lane,
    history: History,
    stop: CancellationToken,
}

impl Session {
    async fn run(self) {
        let stop = self.stop.clone();
        while !stop.is_cancelled() {
            let rest = if self.lane.connect().await.is_ok() { self.write().await } else { AGAIN };
            stop.run_until_cancelled(sleep(rest)).await;
        }
    }

    /// One row. Says when the next is due.
    async fn write(&self) -> Duration {
        let id = self.history.invoke(&self.name, self.region, self.instance);
        let sql = insert(id, self.region, self.instance);
        let answer = self.stop.run_until_cancelled(self.lane.ask(&sql, AS_LONG_AS_IT_TAKES)).await;
        let outcome = answer.map_or_else(|| Outcome::Unknown("the writer stopped".into()), outcome);
        let at_ns = match &outcome {
            Outcome::Acknowledged(receipt) => receipt.at_ns,
            _ => now_ns(),
        };
        self.history.complete(&self.name, id, at_ns, outcome);
        PACE
    }
}
