//! Asking another instance about itself, with libpq, which knows every way to authenticate.

use std::time::Duration;

use super::error::PostgresError;
use super::lsn::Lsn;
use super::settings::Upstream;
use super::tool::Tool;
use super::{Server, config};

/// What another instance says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpstreamFacts {
    /// The same for all copies of one cluster.
    pub system_id: u64,
    /// Whether it is a standby.
    pub in_recovery: bool,
    /// The timeline it writes; that of its last checkpoint while it is a standby.
    pub timeline: u32,
    /// The timeline of its last checkpoint: behind for a moment after a promotion.
    pub checkpoint_timeline: u32,
}

/// How far a standby has flushed, said every few milliseconds for as long as anybody listens: an answer takes one way, and
/// no question has to come first. A notice is sent at once, while rows would wait for more of them. Each look is a
/// transaction of its own, so that no snapshot of it ever keeps the standby from replaying.
const HOW_FAR: &str = "do $$ begin loop \
    raise notice '%', greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()); \
    commit; perform pg_sleep(0.005); end loop; end $$";
/// What may have been set for the role that would keep it from being heard.
const LOUDLY: &str = "set client_min_messages = notice; set statement_timeout = 0";

const QUESTION: &str = "select system_identifier, pg_is_in_recovery(), \
    case when pg_is_in_recovery() then lpad(to_hex(timeline_id), 8, '0') \
    else substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) end, timeline_id \
    from pg_control_system(), pg_control_checkpoint()";

impl Server {
    /// Asks the upstream, within a few seconds.
    pub async fn ask(&self, upstream: &Upstream) -> Result<UpstreamFacts, PostgresError> {
        let said = self.put_question(upstream, QUESTION).await?;
        read(&said).ok_or_else(|| PostgresError::Upstream {
            upstream: upstream.clone(),
            what: format!("expected four facts, got {said:?}"),
        })
    }

    /// Asks an upstream that has to be a primary.
    pub(super) async fn ask_primary(&self, upstream: &Upstream) -> Result<UpstreamFacts, PostgresError> {
        let facts = self.ask(upstream).await?;
        if facts.in_recovery {
            let what = "expected a primary, got a standby".into();
            return Err(PostgresError::Upstream { upstream: upstream.clone(), what });
        }
        Ok(facts)
    }

    /// What the upstream answers to a statement, as text.
    pub(super) async fn put_question(
        &self,
        upstream: &Upstream,
        question: &str,
    ) -> Result<String, PostgresError> {
        let said = self
            .upstream_tool("psql")
            .args(["--no-psqlrc", "--no-align", "--tuples-only", "--no-password", "--dbname"])
            .arg(config::conninfo(&self.settings, upstream, Some("postgres")))
            .args(["--command"])
            .arg(question)
            .timeout(Duration::from_secs(10))
            .run()
            .await?;
        Ok(said.stdout.trim().to_owned())
    }

    /// Hands on how far a standby has flushed, again and again, until that fails or the future is dropped.
    pub async fn hear_flushed(
        &self,
        of: &Upstream,
        each: &mut (dyn FnMut(Lsn) + Send),
    ) -> Result<(), PostgresError> {
        let mut line = |line: &str| {
            if let Some(Ok(flushed)) = line.strip_prefix("NOTICE:").map(|rest| rest.trim().parse()) {
                each(flushed);
            }
        };
        let tool = self
            .upstream_tool("psql")
            .args(["--no-psqlrc", "--no-password", "--quiet", "--set=ON_ERROR_STOP=1", "--dbname"])
            .arg(config::conninfo(&self.settings, of, Some("postgres")))
            .args(["--command", LOUDLY, "--command", HOW_FAR]);
        tool.run_with_progress(&mut line).await.map(drop)
    }

    /// A program that connects to an upstream; the password is in its environment, which only its user can read.
    pub(super) fn upstream_tool(&self, binary: &'static str) -> Tool {
        let tool = self.tool(binary);
        match &self.settings.replication_password {
            Some(password) => tool.env("PGPASSWORD", &password.0),
            None => tool,
        }
    }
}

fn read(line: &str) -> Option<UpstreamFacts> {
    let mut fields = line.split('|');
    let facts = UpstreamFacts {
        system_id: fields.next()?.parse().ok()?,
        in_recovery: fields.next()? == "t",
        timeline: u32::from_str_radix(fields.next()?, 16).ok()?,
        checkpoint_timeline: fields.next()?.parse().ok()?,
    };
    fields.next().is_none().then_some(facts)
}
