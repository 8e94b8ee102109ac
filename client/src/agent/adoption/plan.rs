//! What `adopt` would do, and why it would not.

use super::super::{AgentError, Config};
use super::{Record, group};
use crate::postgres::{Change, PostgresError, Server, Settings, Survey};
use nix::unistd::{AccessFlags, Uid, User, access};
use std::fmt;
use std::path::Path;

/// What is found, what would change, and what stands in the way.
#[derive(Debug)]
pub struct Plan {
    survey: Option<Survey>,
    found: Vec<(&'static str, String)>,
    changes: Vec<Change>,
    steps: Vec<String>,
    notes: Vec<String>,
    refusals: Vec<String>,
}

impl Plan {
    /// Looks at everything; changes nothing. `postgresql_conf` is the server's own configuration, where it does not tell.
    ///
    /// # Errors
    /// When the agent's own configuration makes no sense. What is wrong with the server is a refusal.
    pub async fn make(config: &Config, postgresql_conf: Option<&Path>) -> Result<Plan, AgentError> {
        let settings = config.server()?;
        let mut plan = Plan {
            survey: None,
            found: vec![("instance", config.full_name()), ("data", settings.data_dir.display().to_string())],
            changes: Vec::new(),
            steps: Vec::new(),
            notes: Vec::new(),
            refusals: Vec::new(),
        };
        if Record::load(&config.state_dir)?.is_some() {
            plan.refuse(
                "it is adopted already: start the agent, or give it back with `regent-agent release`",
            );
            return Ok(plan);
        }
        if let Err(error) = plan.look(config, &settings, postgresql_conf).await {
            let words = super::super::in_words(&error);
            // Class 28: the server let nobody in under that name.
            let hint = if words.contains("(28") {
                let superuser = &settings.superuser;
                format!(
                    ". The agent connects through the socket as {superuser}: let the user that this runs as do so, for example \
                     by running it as the user that Postgres runs as, with `local all {superuser} peer` in pg_hba.conf"
                )
            } else {
                String::new()
            };
            plan.refuse(&format!("{words}{hint}"));
        }
        Ok(plan)
    }

    async fn look(
        &mut self,
        config: &Config,
        settings: &Settings,
        postgresql_conf: Option<&Path>,
    ) -> Result<(), PostgresError> {
        let server = Server::new(settings.clone())?;
        let survey = server.survey(postgresql_conf).await?;
        self.tell_what_is_there(&server, &survey);
        self.refuse_by(settings, &survey);
        if self.refusals.is_empty()
            && let Some(why) = server.try_gate(&survey).await?
        {
            self.refuse(&format!("the gate cannot be loaded, so nothing would fence it: {why}"));
        }
        let asked = group::ask(config).await;
        if let Some(why) = group::obstacle(config, &survey, &asked) {
            self.refuse(&why);
        }
        self.changes = survey.changes(settings)?;
        self.tell_steps(settings, &survey);
        self.note_by(settings, &survey);
        self.survey = Some(survey);
        Ok(())
    }

    fn refuse(&mut self, why: &str) {
        self.refusals.push(why.to_owned());
    }

    fn tell_what_is_there(&mut self, server: &Server, survey: &Survey) {
        let conf = survey.own.file(&server.settings().data_dir);
        let role = if survey.standby { "standby" } else { "primary" };
        let state = match &survey.live {
            Some(live) => {
                format!("{role}, running as process {}, {} clients connected", live.pid, live.clients)
            }
            None => format!("{role}, stopped ({})", survey.cluster.state),
        };
        let checksums = if survey.cluster.checksums { "checksums" } else { "no checksums" };
        self.found.extend([
            ("server", format!("PostgreSQL {}, {checksums}", survey.cluster.version)),
            ("system identifier", survey.cluster.system_id.to_string()),
            ("owner", user_name(survey.owner)),
            ("configuration", conf.display().to_string()),
            ("state", state),
        ]);
        if let Some(live) = &survey.live {
            self.found.push(("port", live.port.to_string()));
            let standbys = if live.standbys.is_empty() { "none".into() } else { live.standbys.join(", ") };
            self.found.push(("standbys", standbys));
        }
        if let Some(upstream) = survey.upstream() {
            self.found.push(("streams from", without_password(upstream)));
        }
    }

    /// What it cannot be run, or not be fenced, with.
    fn refuse_by(&mut self, settings: &Settings, survey: &Survey) {
        let runs_as = settings.run_as.map_or(Uid::effective().as_raw(), |run_as| run_as.uid);
        if survey.owner != runs_as {
            let (owner, runs_as) = (user_name(survey.owner), user_name(runs_as));
            self.refuse(&format!(
                "the data directory belongs to {owner}, and Postgres would be run as {runs_as}: run this as {owner}, or as root \
                 with postgres.run_as = \"{owner}\""
            ));
        }
        let conf = survey.own.file(&settings.data_dir);
        if access(&conf, AccessFlags::W_OK).is_err() {
            self.refuse(&format!(
                "{} gets one line more, and this may not write it: run this as its owner",
                conf.display()
            ));
        }
        if survey.managed {
            self.refuse("regent.conf is in its data directory: an agent has made it, so there is nothing to adopt; start the agent");
        }
        let port = survey.value("port").unwrap_or("5432");
        if port != settings.port.to_string() {
            let got = settings.port;
            self.refuse(&format!(
                "its port is {port}, and postgres.port of the agent is {got}: its clients would not find it any more; make them the same"
            ));
        }
        for name in ["shared_preload_libraries", "regent.lease_file"] {
            if let Some(at) = survey.auto.get(name) {
                self.refuse(&format!(
                    "{name} is set in line {} of {}, which wins over every file, the agent's too: `ALTER SYSTEM RESET {name}`, and \
                     put it into postgresql.conf",
                    at.line,
                    at.file.display()
                ));
            }
            if let Some((_, value)) = survey.command_line.iter().find(|(given, _)| given == name) {
                self.refuse(&format!(
                    "{name} = {value} was given on the command line (postmaster.opts), which wins over every file: a server that is \
                     started so again would not be fenced; put it into postgresql.conf instead"
                ));
            }
        }
        let elsewhere = survey
            .set
            .get("data_directory")
            .filter(|set| Path::new(&set.value).canonicalize().ok() != settings.data_dir.canonicalize().ok());
        if let Some(elsewhere) = elsewhere {
            let (file, line) = (elsewhere.file.display(), elsewhere.line);
            self.refuse(&format!(
                "{file}, line {line}: data_directory is {}, another than the agent's",
                elsewhere.value
            ));
        }
        if settings.data_dir.join("recovery.signal").exists() {
            self.refuse("it is recovering to a point in time (recovery.signal is there): let that end first");
        }
    }

    fn tell_steps(&mut self, settings: &Settings, survey: &Survey) {
        let conf =
            survey.own.config_file.as_ref().map_or("postgresql.conf".to_owned(), |f| f.display().to_string());
        self.steps.push(format!(
            "regent.conf is written into the data directory, and one line that includes it into {conf}"
        ));
        for (name, value) in survey.moved() {
            let value = without_password(&value);
            let words = "is taken out of postgresql.auto.conf, where it would win over the agent's files";
            self.steps.push(format!("{name} ({value}) {words}"));
        }
        let Some(live) = &survey.live else {
            self.steps.push("no restart: the agent starts it".into());
            return;
        };
        if !survey.standby && !live.role {
            self.steps.push(format!(
                "role {} is made, for the other instances to replicate as",
                settings.replication_user
            ));
        }
        if !survey.standby && !live.lacks.is_empty() {
            let (user, count) = (&settings.replication_user, live.lacks.len());
            self.steps
                .push(format!("{user} may execute {count} functions that pg_rewind reads this server with"));
        }
        let mib = live.since_checkpoint / (1 << 20);
        self.steps.push(format!(
            "one restart: a checkpoint while it still serves ({mib} MiB of WAL since the last), then a stop, which ends {} client \
             connections, and a start as a standby; a second or two when the checkpoint has done its work",
            live.clients
        ));
        if !survey.standby {
            self.steps.push(
                "it is writable again when its agent, started at once, has the lease, and then on a new timeline".into(),
            );
        }
    }

    fn note_by(&mut self, settings: &Settings, survey: &Survey) {
        let mut note = |text: String| self.notes.push(text);
        if survey.value("synchronous_standby_names").is_some_and(|names| !names.is_empty()) {
            note(
                "commits wait for no standby from then on: synchronous_standby_names is the group's to set"
                    .into(),
            );
        }
        if survey.tablespaces {
            note("it has tablespaces: it is failed over and rewound, but the agent cannot clone it".into());
        }
        if !survey.own.carried.is_empty() {
            let names: Vec<&str> = survey.own.carried.iter().map(|(name, _)| name.as_str()).collect();
            note(format!("from its command line into regent.conf: {}", names.join(", ")));
        }
        note(format!("its standard error goes to {} from then on", settings.log_file.display()));
        let Some(live) = &survey.live else { return };
        if let Some(unit) = &live.unit {
            note(format!(
                "{unit} runs it now: `systemctl disable {unit}` first, and never start it by that again"
            ));
        }
        if !live.slots.is_empty() && !survey.standby {
            let slots = live.slots.join(", ");
            note(format!(
                "slots {slots} stay: drop each when the standby that used it is adopted, for it would keep all WAL"
            ));
        }
        if !live.admitted {
            let (user, network) = (&settings.replication_user, "NETWORK");
            note(format!(
                "pg_hba.conf seems to let no {user} in from elsewhere; the other instances need, before any line that refuses:\n\
                 \x20     host replication {user} {network} scram-sha-256\n      host postgres {user} {network} scram-sha-256"
            ));
        }
        if !survey.standby && !live.standbys.is_empty() {
            note("its standbys go on streaming; each is adopted in turn, by its own agent".into());
        }
    }

    /// Why it would be refused; empty when it can be done.
    pub fn refusals(&self) -> &[String] {
        &self.refusals
    }

    pub(super) fn survey(&self) -> Option<&Survey> {
        self.survey.as_ref()
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.found {
            writeln!(f, "{name:18} {value}")?;
        }
        let width = self.changes.iter().map(|change| change.name.len()).max().unwrap_or_default();
        if !self.changes.is_empty() && self.refusals.is_empty() {
            writeln!(f, "\nsettings that change")?;
            for Change { name, from, to } in &self.changes {
                let from = from.as_ref().map_or("(default)".to_owned(), |from| shown(from));
                writeln!(f, "  {name:width$}  {from} -> {}", shown(to))?;
            }
        }
        let lists = [("what is done", &self.steps), ("to know", &self.notes), ("refused", &self.refusals)];
        for (title, lines) in lists {
            let mute = lines.is_empty() || (!self.refusals.is_empty() && title != "refused");
            if !mute {
                writeln!(f, "\n{title}")?;
                lines.iter().try_for_each(|line| writeln!(f, "  - {line}"))?;
            }
        }
        Ok(())
    }
}

fn shown(value: &str) -> String {
    if value.is_empty() { "''".into() } else { without_password(value) }
}

/// A connection string, fit to be shown.
fn without_password(conninfo: &str) -> String {
    let mut words = String::new();
    let mut rest = conninfo;
    while let Some((before, after)) = rest.split_once("password=") {
        words.push_str(before);
        words.push_str("password=...");
        rest = match after.strip_prefix('\'') {
            Some(quoted) => quoted.split_once('\'').map_or("", |(_, rest)| rest),
            None => after.find(' ').map_or("", |at| &after[at..]),
        };
    }
    words + rest
}

fn user_name(uid: u32) -> String {
    User::from_uid(Uid::from_raw(uid)).ok().flatten().map_or(format!("user {uid}"), |user| user.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        for (conninfo, expected) in [
            ("host=a password=hush port=1", "host=a password=... port=1"),
            ("host=a password='hu sh' port=1", "host=a password=... port=1"),
            ("password=hush", "password=..."),
            ("host=a", "host=a"),
        ] {
            assert_eq!(without_password(conninfo), expected);
        }
    }
}
