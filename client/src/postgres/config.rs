//! The text of the configuration files.
//!
//! Four files of the agent's own in the data directory, included by a line each at the end of `postgresql.conf`:
//! `regent.conf` changes only with the agent's settings and is read at the start; `regent.upstream.conf` says whom to stream
//! from and `regent.synchronous.conf` whom to wait for; from version 17 on, `regent.slots.conf` says whom no logical subscriber
//! may get ahead of. Those are rewritten while the server runs and applied by a reload; each holds one fact, so that an agent that has just started can write one without knowing the other.
//!
//! Files rather than `ALTER SYSTEM`, because they can be written while the server is down, starting or stuck. What a stray
//! `ALTER SYSTEM` must not be able to change (`REQUIRED`: above all the fence) is given on the command line as well,
//! which beats every file; it is in the file too, so that a server started by hand is fenced likewise.

use std::fmt::Write;

use super::own::Kept;
use super::settings::{Settings, Upstream};
use super::slots::slot_name;
use super::synchronous::Synchronous;

/// The file of what does not change while the server runs.
pub(super) const FIXED_FILE: &str = "regent.conf";
/// The file that says whom to stream from.
pub(super) const UPSTREAM_FILE: &str = "regent.upstream.conf";
/// The file that says whom to wait for.
pub(super) const SYNCHRONOUS_FILE: &str = "regent.synchronous.conf";
/// The file that says whom no logical subscriber may get ahead of.
pub(super) const SLOTS_FILE: &str = "regent.slots.conf";

/// All files of the agent's own.
pub(super) const FILES: [&str; 4] = [FIXED_FILE, UPSTREAM_FILE, SYNCHRONOUS_FILE, SLOTS_FILE];

/// Parameters that only the agent may decide; the rest of its choices are defaults that the operator can override.
pub(super) const OWNED: [&str; 20] = [
    "archive_cleanup_command",
    "cluster_name",
    "config_file",
    "data_directory",
    "external_pid_file",
    "fsync",
    "full_page_writes",
    "hba_file",
    "hot_standby",
    "ident_file",
    "listen_addresses",
    "port",
    "primary_conninfo",
    "promote_trigger_file",
    "recovery_target_timeline",
    "regent.lease_file",
    "restart_after_crash",
    "synchronous_standby_names",
    "unix_socket_directories",
    "wal_log_hints",
];

/// Whether the operator may not set this parameter.
pub(super) fn is_owned(name: &str) -> bool {
    OWNED.contains(&name.to_ascii_lowercase().as_str())
}

/// What every server is given, in the file only: `parameters` and `ALTER SYSTEM` may change it.
pub const DEFAULTS: [(&str, &str); 13] = [
    ("wal_level", "replica"),
    ("max_wal_senders", "16"),
    // One for each other instance, 15 at most, and as many of the operator's own.
    ("max_replication_slots", "32"),
    // Kept whatever slots say: what a slot that is made anew would come too late for.
    ("wal_keep_size", "512MB"),
    // What a standby that is away may make every other instance keep, all such standbys together. A primary that writes
    // 1 MiB/s is followed again after an hour; and a disk that has no room for it next to its data has none for a busy night.
    ("max_slot_wal_keep_size", "4GB"),
    // A standby that has just lost its upstream sleeps this long between attempts, and a promotion can wait for it. Promoted
    // at the moment of the death: 5 s at worst with 5s, 113 ms in the median with 50ms, 76 ms with 10ms (`measure.rs`, a busy
    // machine of 2 cores). But each attempt on an upstream that refuses is a process and a line in the log.
    ("wal_retrieve_retry_interval", "50ms"),
    ("wal_receiver_status_interval", "1s"),
    // A cut link is noticed after these, long after the witnesses acted: they only bound how long a dead stream lingers.
    ("wal_receiver_timeout", "5s"),
    ("wal_sender_timeout", "5s"),
    ("tcp_keepalives_idle", "5"),
    ("tcp_keepalives_interval", "2"),
    ("tcp_keepalives_count", "3"),
    ("log_line_prefix", "%m [%p] %q%u@%d %a "),
];

/// What the server's own failover slots need, on every instance: a standby fetches the slots of its upstream. A slot has them only if
/// it was made with `failover = true`.
const FAILOVER_SLOTS: [(&str, &str); 2] = [("sync_replication_slots", "on"), ("hot_standby_feedback", "on")];

/// What has to hold whatever any file says.
pub(super) fn required(settings: &Settings, kept: &Kept) -> Vec<(&'static str, String)> {
    let mut all = vec![
        ("listen_addresses", settings.listen_addresses.join(",")),
        ("port", settings.port.to_string()),
        ("unix_socket_directories", kept.sockets(&settings.socket_dir)),
        ("cluster_name", settings.instance.clone()),
        ("hot_standby", "on".into()),
        ("wal_log_hints", "on".into()),
        ("full_page_writes", "on".into()),
        ("fsync", "on".into()),
        ("recovery_target_timeline", "latest".into()),
        // After the crash of one backend the postmaster ends instead of recovering by itself: the agent sees that within
        // milliseconds, and the choice between restarting here and handing over is made in one place.
        ("restart_after_crash", "off".into()),
    ];
    if let Some(gate) = &settings.gate {
        all.push(("shared_preload_libraries", preloaded(settings, kept, &gate.library)));
        all.push(("regent.lease_file", gate.lease_file.display().to_string()));
    }
    all
}

/// The gate and the operator's own libraries.
fn preloaded(settings: &Settings, kept: &Kept, gate: &str) -> String {
    let own =
        settings.parameters.iter().find(|(name, _)| name.eq_ignore_ascii_case("shared_preload_libraries"));
    kept.libraries(own.map(|(_, value)| value.as_str()), gate)
}

/// `regent.conf`.
pub(super) fn fixed(settings: &Settings, kept: &Kept) -> String {
    let mut text =
        String::from("# Written by regent-agent at every start: change its own settings instead.\n");
    for (name, value) in chosen(settings, kept) {
        line(&mut text, &name, &value);
    }
    if settings.own.is_some() {
        // One line of the operator's file leads here; the role's files follow from here.
        text.push_str(&include_roles(settings));
    }
    text
}

/// All that `regent.conf` sets, in its order: what comes later wins.
pub(super) fn chosen(settings: &Settings, kept: &Kept) -> Vec<(String, String)> {
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let mut all: Vec<(String, String)> =
        DEFAULTS.into_iter().filter(|(name, _)| kept.leaves(name)).map(owned).collect();
    if let Some(own) = &settings.own {
        all.extend(own.carried.iter().cloned());
        // A new primary has no slot for those that had one at the old.
        all.push(owned(("primary_slot_name", "")));
    }
    if settings.failover_slots {
        all.extend(FAILOVER_SLOTS.map(owned));
    }
    all.extend(settings.parameters.iter().map(|(name, value)| (name.clone(), value.clone())));
    all.extend(required(settings, kept).into_iter().map(|(name, value)| (name.to_owned(), value)));
    all
}

/// `regent.upstream.conf`; without an upstream it detaches.
pub(super) fn upstream(settings: &Settings, upstream: Option<&Upstream>) -> String {
    let conninfo = upstream.map(|upstream| standby_conninfo(settings, upstream)).unwrap_or_default();
    let mut text = single("primary_conninfo", &conninfo);
    if settings.failover_slots {
        let slot = upstream.map(|_| slot_name(&settings.instance)).unwrap_or_default();
        line(&mut text, "primary_slot_name", &slot);
    }
    text
}

/// `regent.slots.conf`.
pub(super) fn synchronized_slots(slots: &[String]) -> String {
    single("synchronized_standby_slots", &slots.join(", "))
}

/// `regent.synchronous.conf`.
pub(super) fn synchronous(synchronous: &Synchronous) -> String {
    single("synchronous_standby_names", &synchronous.to_string())
}

/// A file with one fact.
pub(super) fn single(name: &str, value: &str) -> String {
    let mut text = String::from("# Written by regent-agent whenever the role changes.\n");
    line(&mut text, name, value);
    text
}

/// A line that sets a parameter.
pub(super) fn line(text: &mut String, name: &str, value: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{name} = {}", quoted(value));
}

/// A value as the configuration file's grammar wants it.
fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "''").replace('\n', "\\n"))
}

/// What a standby connects with, password included: the file is readable by Postgres's user only.
pub(super) fn standby_conninfo(settings: &Settings, upstream: &Upstream) -> String {
    // Slots are fetched over a connection to a database.
    let database = settings.failover_slots.then_some("postgres");
    let mut text = connection(settings, upstream, database, &settings.instance);
    if let Some(password) = &settings.replication_password {
        pair(&mut text, "password", &password.0);
    }
    text
}

/// What the programs connect with; without a password, which other users could read in their arguments. They go by a name
/// that no instance can have: `pg_basebackup` streams as a standby does, and says flushed of what it may yet throw away.
/// In `sync` nobody's commit may count for that.
pub(super) fn conninfo(settings: &Settings, upstream: &Upstream, database: Option<&str>) -> String {
    connection(settings, upstream, database, &format!("a program of {}", settings.instance))
}

fn connection(settings: &Settings, upstream: &Upstream, database: Option<&str>, who: &str) -> String {
    let mut text = String::new();
    pair(&mut text, "host", &upstream.host);
    pair(&mut text, "port", &upstream.port.to_string());
    pair(&mut text, "user", &settings.replication_user);
    if let Some(database) = database {
        pair(&mut text, "dbname", database);
    }
    pair(&mut text, "application_name", who);
    // A dead or cut upstream is given up after a few seconds, wherever the connection is in its life.
    let patience = [
        ("connect_timeout", "2"),
        ("keepalives_idle", "2"),
        ("keepalives_interval", "1"),
        ("keepalives_count", "3"),
        ("tcp_user_timeout", "5000"),
    ];
    for (name, value) in patience {
        pair(&mut text, name, value);
    }
    for (name, value) in &settings.upstream_parameters {
        pair(&mut text, name, value);
    }
    text
}

fn pair(text: &mut String, name: &str, value: &str) {
    let value = value.replace('\\', "\\\\").replace('\'', "\\'");
    let space = if text.is_empty() { "" } else { " " };
    let _ = write!(text, "{space}{name}='{value}'");
}

const BEGIN: &str = "# regent-agent begins: rewritten at every start";
const END: &str = "# regent-agent ends";

/// Puts the agent's lines, marked, before or after what is in the file; what is between old marks is replaced.
pub(super) fn with_block(there: &str, block: &str, first: bool) -> String {
    let mut rest = String::new();
    let mut inside = false;
    for line in there.lines() {
        match line {
            BEGIN => inside = true,
            END => inside = false,
            _ if inside => {}
            _ => {
                rest.push_str(line);
                rest.push('\n');
            }
        }
    }
    let block = format!("{BEGIN}\n{block}{END}\n");
    if first { block + &rest } else { rest + &block }
}

/// For the end of `postgresql.conf`, so that it wins over what stands before.
pub(super) fn includes(settings: &Settings) -> String {
    include(FIXED_FILE) + &include_roles(settings)
}

/// The files that change with the role. A file that is never there would be a line in the log of every process at every
/// reload.
fn include_roles(settings: &Settings) -> String {
    let slots = settings.failover_slots.then_some(SLOTS_FILE);
    [UPSTREAM_FILE, SYNCHRONOUS_FILE].into_iter().chain(slots).map(include).collect()
}

fn include(file: &str) -> String {
    format!("include_if_exists = '{file}'\n")
}

/// For the beginning of `pg_hba.conf`: the first line that matches decides.
pub(super) fn hba(settings: &Settings) -> String {
    let mut text = format!("local all {} peer map=regent\n", settings.superuser);
    let kind = if settings.require_tls { "hostssl" } else { "host" };
    for network in &settings.networks {
        let _ = writeln!(text, "{kind} replication {} {network} scram-sha-256", settings.replication_user);
        let _ = writeln!(text, "{kind} all all {network} scram-sha-256");
    }
    text
}

/// For `pg_ident.conf`: which users of the system may be the superuser over the socket.
pub(super) fn ident(settings: &Settings, system_users: &[String]) -> String {
    let lines = system_users.iter().map(|user| format!("regent \"{user}\" {}\n", settings.superuser));
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::super::settings::{Gate, Secret};
    use super::*;

    fn far() -> Upstream {
        Upstream { host: "10.0.0.1".into(), port: 5432 }
    }

    #[test]
    fn what_is_quoted_means_itself() {
        let mut settings = Settings::new("a", "/srv/a");
        settings.replication_password = Some(Secret("it's \\ odd".into()));
        let text = upstream(&settings, Some(&far()));
        // First the quotes of libpq, then those of the configuration file.
        assert!(text.contains(r"password=''it\\''s \\\\ odd''"), "{text}");
        assert!(synchronous(&Synchronous::Off).ends_with("synchronous_standby_names = ''\n"));
    }

    #[test]
    fn programs_are_not_given_the_password_in_an_argument() {
        let mut settings = Settings::new("a", "/srv/a");
        settings.replication_password = Some(Secret("hush".into()));
        assert!(!conninfo(&settings, &far(), Some("postgres")).contains("hush"));
        assert!(standby_conninfo(&settings, &far()).contains("hush"));
        // Only a standby is taken for one.
        let named = format!("application_name='{}'", settings.instance);
        assert!(standby_conninfo(&settings, &far()).contains(&named));
        assert!(!conninfo(&settings, &far(), None).contains(&named));
    }

    #[test]
    fn what_failover_slots_need_is_set_only_where_they_are() {
        let mut settings = Settings::new("a-b", "/srv/a");
        let all = |settings: &Settings| fixed(settings, &Kept::default()) + &upstream(settings, Some(&far()));
        let plain = all(&settings);
        for name in ["sync_replication_slots", "hot_standby_feedback", "primary_slot_name", "dbname"] {
            assert!(!plain.contains(name), "{plain}");
        }
        assert!(!settings.decodes());
        settings.parameters.insert("wal_level".into(), "logical".into());
        assert!(settings.decodes());
        settings.failover_slots = true;
        let text = all(&settings);
        for line in [
            "sync_replication_slots = 'on'\n",
            "hot_standby_feedback = 'on'\n",
            "primary_slot_name = 'regent_a_b'\n",
            "dbname=''postgres''",
        ] {
            assert!(text.contains(line), "{text}");
        }
        assert!(upstream(&settings, None).contains("primary_slot_name = ''"), "nobody has a slot for it");
        let names = ["regent_b".to_owned(), "regent_c".to_owned()];
        assert!(synchronized_slots(&names).ends_with("synchronized_standby_slots = 'regent_b, regent_c'\n"));
    }

    #[test]
    fn the_gate_is_preloaded_first_and_once() {
        let mut settings = Settings::new("a", "/srv/a");
        settings.gate = Some(Gate { library: "regent_gate".into(), lease_file: "/dev/shm/lease".into() });
        settings.parameters.insert("shared_preload_libraries".into(), "auto_explain, regent_gate".into());
        let all = required(&settings, &Kept::default());
        assert!(all.contains(&("shared_preload_libraries", "regent_gate,auto_explain".into())), "{all:?}");
        assert!(all.contains(&("regent.lease_file", "/dev/shm/lease".into())), "{all:?}");
    }

    #[test]
    fn a_block_is_replaced_and_the_rest_kept() {
        let once = with_block("mine\n", "a\n", true);
        assert_eq!(once, format!("{BEGIN}\na\n{END}\nmine\n"));
        assert_eq!(with_block(&once, "b\n", false), format!("mine\n{BEGIN}\nb\n{END}\n"));
    }

    #[test]
    fn everything_required_is_owned_except_the_shared_list_of_libraries() {
        for (name, _) in required(&Settings::new("a", "/srv/a"), &Kept::default()) {
            assert!(is_owned(name), "{name}");
        }
    }
}
