//! The operator's own programs, run when something happens to the instance: `[hooks]` in the configuration. Each is a line
//! for `sh`, is told what happened by its environment, has a time limit, and its output is in the agent's log. At the limit
//! its whole process group is killed.
//!
//! None of them stands between the agent's loop and the gate: `before_promote` is a part of the task that promotes, the others
//! run one after the other on their own.

use super::Config;
use crate::program::Running;
use regent_core::agent::{Event, Note, Task};
use regent_core::ids::Epoch;
use regent_core::message::Role;
use serde::Deserialize;
use std::io;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::Command;
use tokio::sync::mpsc;

/// What the operator wants to be run.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HooksConfig {
    /// Before a promotion; anything but exit code 0 within its time gives the office to the next of the succession.
    pub before_promote: Option<String>,
    /// How long that may take, in milliseconds: writes wait for it.
    pub before_promote_ms: u64,
    /// When Postgres has become a primary or a standby.
    pub after_role_change: Option<String>,
    /// When this instance has given the office of primary up, or lost it.
    pub on_fence: Option<String>,
    /// How long each of the others may take, in milliseconds.
    pub timeout_ms: u64,
}

impl Default for HooksConfig {
    fn default() -> Self {
        let none = || None;
        HooksConfig {
            before_promote: none(),
            before_promote_ms: 500,
            after_role_change: none(),
            on_fence: none(),
            timeout_ms: 30_000,
        }
    }
}

/// Why a hook did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// It could not be started, or not be waited for.
    #[error("{name} could not be run: {source}")]
    Run {
        /// Which.
        name: &'static str,
        /// Why.
        source: io::Error,
    },
    /// It ended with something else than exit code 0.
    #[error("{name} said no ({status}); what it printed is in the agent's log")]
    Failed {
        /// Which.
        name: &'static str,
        /// How it ended.
        status: String,
    },
    /// It took too long, and was killed.
    #[error("{name} did not end within {ms} ms and was killed")]
    Late {
        /// Which.
        name: &'static str,
        /// How long it had.
        ms: u128,
    },
}

/// What a hook is told besides who it runs for.
#[derive(Clone, Debug)]
pub(super) struct Occasion {
    /// What the instance is, or is to be.
    pub role: Role,
    /// The epoch it is about.
    pub epoch: Epoch,
}

/// What to run, and for whom.
#[derive(Clone, Debug)]
pub(super) struct Hooks {
    config: HooksConfig,
    environment: Vec<(&'static str, String)>,
}

impl Hooks {
    pub fn new(config: &Config) -> Hooks {
        Hooks { config: config.hooks.clone(), environment: environment(config) }
    }

    /// Asks the operator whether this instance may be promoted.
    pub async fn before_promote(&self, occasion: &Occasion) -> Result<(), HookError> {
        let limit = Duration::from_millis(self.config.before_promote_ms);
        match &self.config.before_promote {
            Some(line) => self.run("before_promote", line, limit, occasion).await,
            None => Ok(()),
        }
    }

    async fn tell(&self, name: &'static str, occasion: &Occasion) {
        let line = match name {
            "on_fence" => &self.config.on_fence,
            _ => &self.config.after_role_change,
        };
        let Some(line) = line else { return };
        let limit = Duration::from_millis(self.config.timeout_ms);
        if let Err(error) = self.run(name, line, limit, occasion).await {
            tracing::error!("{error}");
        }
    }

    async fn run(
        &self,
        name: &'static str,
        line: &str,
        limit: Duration,
        occasion: &Occasion,
    ) -> Result<(), HookError> {
        tracing::info!(role = %occasion.role, epoch = %occasion.epoch, "hook {name} begins");
        let failed = |source| HookError::Run { name, source };
        let mut command = Command::new("/bin/sh");
        command.args(["-c", line]).current_dir("/").stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.envs(self.environment.iter().map(|(key, value)| (key, value)));
        command.env("REGENT_HOOK", name).env("REGENT_ROLE", occasion.role.to_string());
        command.env("REGENT_EPOCH", occasion.epoch.to_string());
        let mut running = Running::start(&mut command).map_err(failed)?;
        tokio::spawn(log(name, running.child.stdout.take()));
        tokio::spawn(log(name, running.child.stderr.take()));
        match running.within(limit).await.map_err(failed)? {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(HookError::Failed { name, status: status.to_string() }),
            None => Err(HookError::Late { name, ms: limit.as_millis() }),
        }
    }
}

/// What every program of the operator's is told about the instance.
pub(super) fn environment(config: &Config) -> Vec<(&'static str, String)> {
    vec![
        ("REGENT_CLUSTER", config.cluster.clone()),
        ("REGENT_GROUP", config.group.to_string()),
        ("REGENT_INSTANCE", config.instance.to_string()),
        ("REGENT_REGION", config.region.to_string()),
        ("REGENT_ADDRESS", config.place().address),
        ("REGENT_DATA_DIR", config.postgres.data_dir.display().to_string()),
    ]
}

/// What a hook prints is for the agent's log, line by line.
async fn log<R: AsyncRead + Unpin>(name: &'static str, printed: Option<R>) {
    let Some(printed) = printed else { return };
    let mut lines = BufReader::new(printed).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        tracing::info!("hook {name}: {line}");
    }
}

/// Sees what happens to the instance, and has the hooks told that only listen.
pub(super) struct Crier {
    queue: mpsc::UnboundedSender<(&'static str, Occasion)>,
    role: Option<Role>,
    epoch: Epoch,
    fenced: Epoch,
}

impl Crier {
    pub fn new(hooks: Hooks) -> Crier {
        let (queue, mut told) = mpsc::unbounded_channel::<(&'static str, Occasion)>();
        tokio::spawn(async move {
            while let Some((name, occasion)) = told.recv().await {
                hooks.tell(name, &occasion).await;
            }
        });
        Crier { queue, role: None, epoch: Epoch(0), fenced: Epoch(0) }
    }

    /// What Postgres is doing: told when it has become a primary or a standby. What it was found as is no change.
    pub fn saw(&mut self, event: &Event, seen: Epoch) {
        self.epoch = self.epoch.max(seen);
        let Event::Observed(observed) = event else { return };
        let role = observed.role;
        if !matches!(role, Role::Primary | Role::Standby) {
            return self.role = self.role.or(Some(role));
        }
        if self.role.replace(role).is_some_and(|before| before != role) {
            self.cry("after_role_change", Occasion { role, epoch: self.epoch });
        }
    }

    /// What the agent did: told once an epoch when it is primary no more.
    pub fn noted(&mut self, note: &Note) {
        let over = match note {
            Note::Closed(epoch, _) | Note::Released(epoch, _) => *epoch,
            Note::Begins(Task::StopImmediately, _) => self.epoch,
            _ => return,
        };
        if over > self.fenced {
            self.fenced = over;
            self.cry("on_fence", Occasion { role: Role::Primary, epoch: over });
        }
    }

    fn cry(&self, name: &'static str, occasion: Occasion) {
        let _ = self.queue.send((name, occasion)); // ends with this process
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use regent_core::agent::Observation;
    use regent_core::vote::Reason;
    use std::path::Path;
    use std::time::Instant;

    fn hooks(config: HooksConfig) -> Hooks {
        Hooks { config, environment: vec![("REGENT_GROUP", "orders".to_owned())] }
    }

    async fn asked(line: &str, before_promote_ms: u64) -> Result<(), String> {
        let before_promote = Some(line.to_owned());
        let hooks = hooks(HooksConfig { before_promote, before_promote_ms, ..HooksConfig::default() });
        let occasion = Occasion { role: Role::Primary, epoch: Epoch(7) };
        hooks.before_promote(&occasion).await.map_err(|error| error.to_string())
    }

    /// Waits until there is such a text in the file.
    async fn text(path: &Path, done: impl Fn(&str) -> bool) -> String {
        let start = Instant::now();
        loop {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            if done(&text) {
                return text;
            }
            assert!(start.elapsed() < Duration::from_secs(60), "waited in vain, there is {text:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn anything_but_success_is_a_veto() {
        assert_eq!(hooks(HooksConfig::default()).config.before_promote, None);
        let told =
            "test $REGENT_HOOK.$REGENT_ROLE.$REGENT_EPOCH.$REGENT_GROUP = before_promote.primary.7.orders";
        assert_eq!(asked(told, 60_000).await, Ok(()));
        let no = asked("echo because; exit 3", 60_000).await.unwrap_err();
        assert!(no.starts_with("before_promote said no (exit status: 3)"), "{no}");
    }

    #[tokio::test]
    async fn at_its_limit_a_hook_is_killed_with_what_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let pid = dir.path().join("pid");
        let line = format!("sleep 1000 & echo $! > {}; wait", pid.display());
        let late = asked(&line, 2_000).await.unwrap_err();
        assert_eq!(late, "before_promote did not end within 2000 ms and was killed");
        let pid = text(&pid, |text| text.ends_with('\n')).await;
        let state = Path::new("/proc").join(pid.trim()).join("stat");
        // Gone, or dead and not yet collected by whoever collects orphans here.
        text(&state, |text| text.is_empty() || text.contains(") Z ")).await;
    }

    #[tokio::test]
    async fn changes_are_told_once_and_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("told");
        let line = Some(format!("echo $REGENT_HOOK $REGENT_ROLE $REGENT_EPOCH >> {}", file.display()));
        let config =
            HooksConfig { after_role_change: line.clone(), on_fence: line, ..HooksConfig::default() };
        let mut crier = Crier::new(hooks(config));
        let seen = |role| Event::Observed(Observation { role, ..Observation::default() });
        for role in [Role::Standby, Role::Standby, Role::Primary, Role::Stopped, Role::Primary] {
            crier.saw(&seen(role), Epoch(2));
        }
        crier.noted(&Note::Closed(Epoch(2), "not primary"));
        crier.noted(&Note::Released(Epoch(2), Reason::Switchover));
        for role in [Role::Stopped, Role::Standby] {
            crier.saw(&seen(role), Epoch(3));
        }
        let told = text(&file, |text| text.lines().count() == 3).await;
        let expected = "after_role_change primary 2\non_fence primary 2\nafter_role_change standby 3\n";
        assert_eq!(told, expected);
    }
}
