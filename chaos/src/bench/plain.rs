//! What Regent is compared with: a primary and two standbys of the same Postgres with plain streaming replication, over the
//! same links, with the configuration that Regent gives its servers except what is Regent's own: no gate, no agent.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use crate::cluster::topology::REGIONS;
use crate::cluster::{Cluster, processes};
use crate::gray::load::Server;

const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);
/// Every setting that Regent's primary was given, but what is Regent's, what names a place, and what says whom to follow.
const GIVEN: &str = "SELECT name || ' = ' || quote_literal(current_setting(name)) FROM pg_settings \
    WHERE source IN ('configuration file', 'command line') AND name NOT LIKE 'regent.%' \
    AND name NOT LIKE '%\\_file' AND name NOT IN ('shared_preload_libraries', 'port', 'listen_addresses', \
    'unix_socket_directories', 'cluster_name', 'data_directory', 'primary_conninfo', 'primary_slot_name', \
    'synchronous_standby_names', 'restore_command', 'recovery_target_timeline')";

/// The three servers. Dropping it kills them.
pub struct Plain {
    servers: Vec<(Server, Child)>,
}

impl Plain {
    /// Starts them beside those of a running cluster whose primary is in `home`.
    pub fn start(cluster: &Cluster, home: usize) -> anyhow::Result<Plain> {
        let given = Server::of(cluster, home).ask(GIVEN)?;
        let mut plain = Plain { servers: Vec::new() };
        let address = cluster.free_address(home)?;
        let dir = dir(cluster, home)?;
        let data = dir.join("postgres").display().to_string();
        run(cluster, "initdb", &["-D", &data, "-U", "postgres", "--auth=trust", "--no-sync", "-E", "UTF8"])?;
        let hba = "host all all 127.0.0.0/8 trust\nhost replication all 127.0.0.0/8 trust\n";
        append(&dir.join("postgres/pg_hba.conf"), hba)?;
        plain.serve(cluster, home, address, &given)?;
        for region in (0..cluster.regions()).filter(|region| *region != home) {
            let data = self::dir(cluster, region)?.join("postgres").display().to_string();
            let upstream = cluster.link(region, home, address)?;
            let from = format!("host={} port={} user=postgres", upstream.ip(), upstream.port());
            run(cluster, "pg_basebackup", &["-D", &data, "-d", &from, "-R", "-c", "fast", "--no-sync"])?;
            plain.serve(cluster, region, cluster.free_address(region)?, &given)?;
        }
        let streaming = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'";
        until("both standbys stream", || {
            Ok(plain.primary().ask(streaming)?.parse::<usize>()? == cluster.regions() - 1)
        })?;
        Ok(plain)
    }

    /// Its primary.
    pub fn primary(&self) -> &Server {
        &self.servers[0].0
    }

    fn serve(
        &mut self,
        cluster: &Cluster,
        region: usize,
        listen: SocketAddr,
        given: &str,
    ) -> anyhow::Result<()> {
        let dir = dir(cluster, region)?;
        let mut conf = format!("{given}\n");
        writeln!(conf, "listen_addresses = '{}'\nport = {}", listen.ip(), listen.port())?;
        writeln!(conf, "unix_socket_directories = '{}'", dir.display())?;
        // The last of two lines counts: a copy brings its primary's along.
        append(&dir.join("postgres/postgresql.conf"), &conf)?;
        let (program, data) = (cluster.postgres_bin().join("postgres"), dir.join("postgres"));
        let (args, log) = (["-D".to_owned(), data.display().to_string()], dir.join("postgres.log"));
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let child = processes::spawn(&program, &args, &dir, &log, cluster.run_dir().user())?;
        let server = Server { socket_dir: dir, port: listen.port(), ..Server::of(cluster, region) };
        self.servers.push((server, child));
        let (server, child) = self.servers.last_mut().context("it was just added")?;
        until("it answers", || {
            let ended = child.try_wait()?;
            ensure!(ended.is_none(), "a plain Postgres ended: see {}", log.display());
            Ok(server.ask("SELECT 1").is_ok())
        })
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        for (server, child) in &mut self.servers {
            let _ = processes::kill_all_under(&server.socket_dir);
            let _ = child.wait();
        }
    }
}

/// Where a region's plain server has its files.
fn dir(cluster: &Cluster, region: usize) -> anyhow::Result<PathBuf> {
    let dir = cluster.run_dir().region(region).join("plain");
    cluster.run_dir().make(&dir)?;
    Ok(dir)
}

fn append(path: &std::path::Path, text: &str) -> anyhow::Result<()> {
    let file = OpenOptions::new().append(true).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))
}

fn run(cluster: &Cluster, program: &str, args: &[&str]) -> anyhow::Result<()> {
    let mut command = Command::new(cluster.postgres_bin().join(program));
    command.args(args).current_dir("/").env("LC_ALL", "C");
    if let Some(user) = cluster.run_dir().user() {
        command.uid(user.uid).gid(user.gid);
    }
    let output = command.output().with_context(|| format!("cannot run {program}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {args:?}: {said}");
    Ok(())
}

fn until(what: &str, mut done: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        if done()? {
            return Ok(());
        }
        std::thread::sleep(POLL);
    }
    bail!("{what}: not within {PATIENCE:?}")
}
