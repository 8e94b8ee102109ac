//! What the agent did, for the log and for the audit file: one JSON object a line.

use super::{AgentError, Config};
use crate::gate::boottime_ns;
use regent_core::agent::{Note, Task};
use serde_json::{Value, json};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

/// The audit file, if one is wished for, and who writes it.
pub(super) struct Audit {
    file: Option<File>,
    who: Value,
}

impl Audit {
    pub fn open(path: Option<&Path>, config: &Config) -> Result<Audit, AgentError> {
        let open = |path: &Path| {
            OpenOptions::new().create(true).append(true).open(path).map_err(|source| AgentError::Store {
                action: "open",
                path: path.to_owned(),
                source,
            })
        };
        let who = json!({
            "proc": format!("regent-agent-{}", config.instance),
            "region": config.region,
            "group": config.group,
            "instance": config.instance,
        });
        let mut audit = Audit { file: path.map(open).transpose()?, who };
        audit.write(json!({ "event": "started" }));
        Ok(audit)
    }

    /// Tells the log in words, and the file in fields.
    pub fn note(&mut self, note: &Note) {
        let line = match note {
            Note::Certificate(certificate) => {
                let voters: Vec<u64> = certificate.votes().iter().map(|vote| vote.witness.0).collect();
                tracing::warn!(epoch = %certificate.epoch(), ?voters, "elected: {}", certificate.reason());
                json!({ "event": "certificate", "epoch": certificate.epoch(), "voters": voters,
                        "reason": certificate.reason() })
            }
            Note::Acted(epoch, reason) => {
                tracing::warn!(%epoch, "takes office: {reason}");
                json!({ "event": "acted", "epoch": epoch, "reason": reason })
            }
            Note::Promoted(epoch) => {
                tracing::warn!(%epoch, "Postgres is out of recovery");
                json!({ "event": "promoted", "epoch": epoch })
            }
            Note::Opened(epoch) => {
                tracing::warn!(%epoch, "gate open: commits pass");
                json!({ "event": "gate_open", "epoch": epoch })
            }
            Note::Closed(epoch, why) => {
                tracing::warn!(%epoch, "gate closed: {why}");
                json!({ "event": "gate_closed", "epoch": epoch, "reason": why })
            }
            Note::Released(epoch, reason) => {
                tracing::warn!(%epoch, "office given up: {reason}");
                json!({ "event": "released", "epoch": epoch, "reason": reason })
            }
            Note::HandingOver(epoch, to) => {
                tracing::warn!(%epoch, %to, "handing over");
                json!({ "event": "handing_over", "epoch": epoch, "to": to })
            }
            Note::CalledOff(to, why) => {
                tracing::error!(%to, "does not hand over: {why}");
                json!({ "event": "called_off", "to": to, "reason": why })
            }
            Note::Kept(tail) => {
                let (bytes, commits, kept) = (tail.bytes(), tail.commits, &tail.kept);
                let (timeline, from, to) = (tail.timeline, tail.from, tail.to);
                tracing::warn!(
                    kept,
                    "left behind: timeline {timeline} from {from} to {to}, {bytes} bytes, {commits} commits; kept aside"
                );
                json!({ "event": "tail_kept", "epoch": tail.epoch, "timeline": timeline, "from": from.to_string(),
                        "to": to.to_string(), "bytes": bytes, "commits": commits, "kept": kept })
            }
            Note::Gathers(what) => {
                tracing::warn!("decided to be primary: {what}");
                json!({ "event": "gathers", "what": what })
            }
            Note::WaitsFor(names) => {
                let who: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
                tracing::warn!(
                    "commits wait for {}",
                    if who.is_empty() { "nobody".to_owned() } else { who.join(", ") }
                );
                json!({ "event": "waits_for", "instances": names })
            }
            Note::Begins(task, why) => {
                tracing::info!("{}: it {why}", words(task));
                json!({ "event": "task", "task": words(task), "reason": why })
            }
            Note::Failed(task, why) => {
                tracing::error!("{} failed: {why}", words(task));
                json!({ "event": "task_failed", "task": words(task), "reason": why })
            }
        };
        self.write(line);
    }

    fn write(&mut self, line: Value) {
        let Some(file) = &mut self.file else { return };
        let mut all = json!({ "t_ns": boottime_ns() });
        if let (Value::Object(all), Value::Object(who), Value::Object(line)) = (&mut all, &self.who, line) {
            all.extend(who.clone());
            all.extend(line);
        }
        // One write a line, so that lines of a killed agent are whole. An audit that cannot be written stops nothing.
        if let Err(error) = file.write_all(format!("{all}\n").as_bytes()) {
            tracing::error!(%error, "the audit file cannot be written and is given up");
            self.file = None;
        }
    }
}

fn words(task: &Task) -> String {
    match task {
        Task::Initialise => "initialising a new database".to_owned(),
        Task::Clone(from) => format!("cloning {}", from.instance),
        Task::Keep { from, .. } => format!("keeping the log that {} does not have", from.instance),
        Task::Rewind(to) => format!("rewinding to {}", to.instance),
        Task::StartPrimary => "starting Postgres as primary".to_owned(),
        Task::StartStandby(Some(of)) => format!("starting Postgres as standby of {}", of.instance),
        Task::StartStandby(None) => "starting Postgres as standby".to_owned(),
        Task::Promote { .. } => "promoting Postgres".to_owned(),
        Task::Synchronise(_) => "changing whom commits wait for".to_owned(),
        Task::Follow(of) => format!("following {}", of.instance),
        Task::Checkpoint { .. } => "making a checkpoint".to_owned(),
        Task::StopImmediately => "stopping Postgres at once".to_owned(),
        Task::StopCleanly | Task::StopFor { .. } => "stopping Postgres".to_owned(),
    }
}
