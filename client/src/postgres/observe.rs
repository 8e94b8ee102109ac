//! What the running server says about itself: one statement, cheap enough for every 50 ms.

use std::path::Path;
use std::sync::PoisonError;

use serde::Deserialize;
use tokio_postgres::Row;
use tokio_postgres::types::PgLsn;

use super::error::PostgresError;
use super::lsn::Lsn;
use super::own::Kept;
use super::session::Session;
use super::settings::Settings;
use super::{Server, config, session};

/// The state of the server at one moment.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Observation {
    /// The postmaster that is supervised and alive.
    pub pid: Option<i32>,
    /// Whether it answers statements.
    pub accepting: bool,
    /// Why it does not.
    pub trouble: Option<String>,
    /// Whether it is a standby.
    pub in_recovery: Option<bool>,
    /// The timeline it writes, or the newest of which it received anything.
    pub timeline: Option<u32>,
    /// Primary: how far it has written. Standby: as `flushed`.
    pub written: Option<Lsn>,
    /// How far its log is safe on disk: its own, or what it received.
    pub flushed: Option<Lsn>,
    /// How far it can be read: on a primary, all that is flushed.
    pub replayed: Option<Lsn>,
    /// On a standby: `flushed` is all it has. Not so before it has looked for more elsewhere than in its own directory, for
    /// until then it may have more there than it has replayed.
    pub whole: bool,
    /// The standby's connection to its upstream, if there is one.
    pub streaming_from: Option<Streaming>,
    /// Who streams from it.
    pub standbys: Vec<Standby>,
    /// `synchronous_standby_names`, as set.
    pub synchronous: Option<String>,
    /// The same for all copies of one cluster.
    pub system_id: Option<u64>,
    /// Whether the gate is loaded and reads the lease that the settings name. False when they name none.
    pub gate_armed: bool,
    /// Parameters that were changed and wait for a restart.
    pub pending_restart: Vec<String>,
}

/// A standby's connection to its upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Streaming {
    /// `streaming` when it works; `turning` when what it receives is of an older timeline than the upstream's: it is
    /// about to turn to the newer one, or cannot.
    pub status: String,
    /// The upstream's host.
    pub host: String,
    /// The upstream's port.
    pub port: u16,
}

/// One row of `pg_stat_replication`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Standby {
    /// The instance's name; `pg_basebackup` shows here as well, with another `state`.
    pub application_name: String,
    /// `streaming`, `catchup`, `backup`, ...
    pub state: String,
    /// `sync`, `quorum`, `potential` or `async`.
    pub sync_state: String,
    /// How far it was sent.
    #[serde(deserialize_with = "lsn")]
    pub sent: Option<Lsn>,
    /// How far it has said to have written.
    #[serde(deserialize_with = "lsn")]
    pub written: Option<Lsn>,
    /// How far it has said to have flushed.
    #[serde(deserialize_with = "lsn")]
    pub flushed: Option<Lsn>,
    /// How far it has said to have replayed.
    #[serde(deserialize_with = "lsn")]
    pub replayed: Option<Lsn>,
    /// From a flush here until it said to have flushed the same, in microseconds, as last measured; none while nothing is written.
    pub flush_lag_us: Option<u64>,
}

/// What only a start or a reload can change.
#[derive(Debug, Clone, Default)]
pub(super) struct Checked {
    preloaded: String,
    lease_file: String,
    pending_restart: Vec<String>,
}

/// Recovery only ever ends: the functions that refuse during recovery are asked only after it was seen to be over.
///
/// When the receiver has just (re)started, what it received counts from the beginning of a segment: hence the greater of
/// received and replayed. Its timeline is known only while it runs; without it, the newest segment tells.
///
/// A standby that went further than where its upstream's timeline begins cannot follow, and yet its receiver streams, again
/// and again, what the upstream has of the old timeline. It knows of the newer one by then: it has fetched
/// every history up to that one's, so the next number's is there, real or a placeholder (`timelines`).
pub(super) const STATEMENT: &str = "
select r.recovering,
  case when r.recovering then coalesce(lpad(to_hex(w.received_tli), 8, '0'),
      (select max(substr(name, 1, 8)) from pg_ls_waldir() where name ~ '^[0-9A-F]{24}$'))
    else substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) end as timeline,
  case when r.recovering then greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
    else pg_current_wal_lsn() end as written,
  case when r.recovering then greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
    else pg_current_wal_flush_lsn() end as flushed,
  case when r.recovering then pg_last_wal_replay_lsn() else pg_current_wal_flush_lsn() end as replayed,
  case when w.status = 'streaming' and (pg_stat_file('pg_wal/' ||
      upper(lpad(to_hex(w.received_tli + 1), 8, '0')) || '.history', true)).size is not null
    then 'turning' else w.status end as status,
  w.sender_host, w.sender_port, r.recovering and pg_last_wal_receive_lsn() is not null as whole,
  (select coalesce(json_agg(json_build_object('application_name', s.application_name, 'state', s.state,
      'sync_state', s.sync_state, 'sent', s.sent_lsn, 'written', s.write_lsn, 'flushed', s.flush_lsn, 'replayed', s.replay_lsn,
      'flush_lag_us', (extract(epoch from s.flush_lag) * 1000000)::bigint)), '[]')
    from pg_stat_replication s)::text as standbys,
  current_setting('synchronous_standby_names') as synchronous,
  extract(epoch from pg_conf_load_time())::float8 as loaded
from (select pg_is_in_recovery() as recovering offset 0) r
left join pg_stat_wal_receiver w on true";

const SETTINGS: &str = "
select coalesce(current_setting('shared_preload_libraries', true), ''),
  coalesce(current_setting('regent.lease_file', true), ''),
  array(select name from pg_settings where pending_restart order by name)";

impl Server {
    /// Looks at the server, within the time that a statement may take. What cannot be seen is `None`.
    pub async fn observe(&self) -> Observation {
        let mut seen = match self.running() {
            None => return Observation::default(),
            Some(postmaster) => Observation { pid: Some(postmaster.pid), ..Observation::default() },
        };
        let answer = self
            .query(|session| async move {
                let row = session.client.query_one(&session.observation, &[]).await?;
                let checked = check_settings(&session, row.get("loaded")).await?;
                Ok((row, checked, session))
            })
            .await;
        match answer.and_then(|(row, checked, session)| {
            self.fill(&mut seen, &row, checked)?;
            seen.system_id = Some(session.system_id);
            Ok(())
        }) {
            Ok(()) => seen.accepting = true,
            Err(trouble) => seen.trouble = Some(trouble.to_string()),
        }
        seen
    }

    /// Whether it is a standby still: for every 5 ms, while it is being promoted.
    pub async fn in_recovery(&self) -> Result<bool, PostgresError> {
        self.query(
            |session| async move { Ok(session.client.query_one(&session.recovery, &[]).await?.get(0)) },
        )
        .await
    }

    fn fill(&self, seen: &mut Observation, row: &Row, checked: Checked) -> Result<(), PostgresError> {
        let place = |name: &str| row.get::<_, Option<PgLsn>>(name).map(|lsn| Lsn(lsn.into()));
        let timeline = row.get::<_, Option<&str>>("timeline");
        seen.in_recovery = Some(row.get("recovering"));
        seen.timeline = timeline.and_then(|hex| u32::from_str_radix(hex, 16).ok());
        (seen.written, seen.flushed, seen.replayed) = (place("written"), place("flushed"), place("replayed"));
        seen.streaming_from = streaming(row);
        seen.whole = row.get("whole");
        seen.standbys = serde_json::from_str(row.get("standbys"))
            .map_err(|error| session::sql(&self.settings, format!("pg_stat_replication: {error}")))?;
        seen.synchronous = Some(row.get("synchronous"));
        seen.gate_armed = gate_armed(&self.settings, &checked);
        // What is fixed on the command line can differ from a file for ever: no restart would change it.
        let fixed = config::required(&self.settings, &Kept::default());
        let waits = |name: &String| fixed.iter().all(|(fixed, _)| fixed != name);
        seen.pending_restart = checked.pending_restart.into_iter().filter(waits).collect();
        Ok(())
    }
}

/// Read again only after a reload: `pg_settings` costs more than all the rest.
async fn check_settings(session: &Session, loaded: f64) -> Result<Checked, tokio_postgres::Error> {
    let kept = session.settings.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if let Some((_, checked)) = kept.filter(|(at, _)| *at == loaded) {
        return Ok(checked);
    }
    let row = session.client.query_one(SETTINGS, &[]).await?;
    let checked = Checked { preloaded: row.get(0), lease_file: row.get(1), pending_restart: row.get(2) };
    *session.settings.lock().unwrap_or_else(PoisonError::into_inner) = Some((loaded, checked.clone()));
    Ok(checked)
}

fn gate_armed(settings: &Settings, checked: &Checked) -> bool {
    settings.gate.as_ref().is_some_and(|gate| {
        let loaded = checked.preloaded.split(',').any(|library| library.trim() == gate.library);
        loaded && gate.lease_file == Path::new(&checked.lease_file)
    })
}

fn streaming(row: &Row) -> Option<Streaming> {
    Some(Streaming {
        status: row.get::<_, Option<String>>("status")?,
        host: row.get::<_, Option<String>>("sender_host").unwrap_or_default(),
        port: row.get::<_, Option<i32>>("sender_port")?.try_into().ok()?,
    })
}

fn lsn<'de, D: serde::Deserializer<'de>>(source: D) -> Result<Option<Lsn>, D::Error> {
    let text = Option::<String>::deserialize(source)?;
    text.map(|text| text.parse().map_err(serde::de::Error::custom)).transpose()
}
