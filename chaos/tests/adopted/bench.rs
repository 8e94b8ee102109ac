//! Two servers of an operator's own, one node, and agents that may be started; all gone when the test ends.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use regent_chaos::cluster::processes;
use regent_chaos::cluster::run_dir::{Programs, RunDir, User};
use regent_chaos::cluster::topology::{REGIONS, address, instance};

/// The region of the primary.
pub const EAST: usize = 0;
/// The region of its standby.
pub const WEST: usize = 1;
/// What no condition here should need.
const PATIENCE: Duration = Duration::from_secs(90);

pub struct Bench {
    // Dropped before the directory that they work in.
    agents: [Option<Child>; 2],
    node: Option<Child>,
    programs: Programs,
    run: RunDir,
    nodes: SocketAddr,
    ports: [u16; 2],
}

impl Bench {
    pub fn new() -> Bench {
        let programs = Programs::find().unwrap();
        let run = RunDir::create(&programs, 3).unwrap();
        let free = |region: usize| TcpListener::bind((address(region), 0)).unwrap().local_addr().unwrap();
        let nodes = free(EAST);
        let ports = [free(EAST).port(), free(WEST).port()];
        let mut bench = Bench { agents: [None, None], node: None, programs, run, nodes, ports };
        let dir = bench.run.region(EAST);
        let config = format!(
            "cluster = \"demo\"\nnode = 1\nregion = \"{region}\"\nlisten = \"{nodes}\"\ndata_dir = \"{dir}/node\"\n\
             max_round_trip_ms = 100\n\n[[peers]]\nid = 1\nregion = \"{region}\"\naddress = \"{nodes}\"\n",
            region = REGIONS[EAST],
            dir = dir.display(),
        );
        fs::write(dir.join("node.toml"), config).unwrap();
        let flag = dir.join("node.toml").display().to_string();
        bench.node = Some(bench.spawn(EAST, &bench.run.program("regentd"), &["--config", &flag], "node.log"));
        for region in [EAST, WEST] {
            bench.write_agent(region, |config| config);
        }
        bench
    }

    fn user(&self) -> Option<&User> {
        self.run.user()
    }

    fn dir(&self, region: usize) -> PathBuf {
        self.run.region(region)
    }

    fn data(&self, region: usize) -> PathBuf {
        self.dir(region).join("data")
    }

    fn spawn(&self, region: usize, program: &Path, args: &[&str], log: &str) -> Child {
        let dir = self.dir(region);
        processes::spawn(program, args, &dir, &dir.join(log), self.user()).unwrap()
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir("/").env("LC_ALL", "C");
        if let Some(user) = self.user() {
            command.uid(user.uid).gid(user.gid);
        }
        command
    }

    fn postgres_program(&self, name: &str) -> PathBuf {
        self.programs.postgres_bin.join(name)
    }

    fn run(&self, name: &str, args: &[&str]) -> String {
        let (status, said) = ended(self.command(&self.postgres_program(name)).args(args));
        assert_eq!(status, Some(0), "{name} {args:?}: {said}");
        said
    }

    fn write(&self, path: &Path, text: &str) {
        fs::write(path, text).unwrap();
        if let Some(user) = self.user() {
            chown(path, Some(user.uid), Some(user.gid)).unwrap();
        }
    }

    /// A running primary with one row, configured from outside of its data directory.
    pub fn make_primary(&self) {
        let (data, etc) = (self.data(EAST), self.dir(EAST).join("etc"));
        self.run("initdb", &["-D", text(&data), "-U", "postgres", "--auth=trust", "--no-sync", "-E", "UTF8"]);
        self.run.make(&etc.join("conf.d")).unwrap();
        self.run.make(&etc).unwrap();
        self.write(&etc.join("conf.d/libraries.conf"), "shared_preload_libraries = 'auto_explain'\n");
        for name in ["pg_hba.conf", "pg_ident.conf"] {
            fs::rename(data.join(name), etc.join(name)).unwrap();
        }
        fs::remove_file(data.join("postgresql.conf")).unwrap();
        let more = "host replication all 127.0.0.0/8 trust\nhost all all 127.0.0.0/8 trust\n";
        let hba = fs::read_to_string(etc.join("pg_hba.conf")).unwrap() + more;
        self.write(&etc.join("pg_hba.conf"), &hba);
        let conf = format!(
            "# ours\ndata_directory = '{}'\nhba_file = '{etc}/pg_hba.conf'\nident_file = '{etc}/pg_ident.conf'\n\
             include_dir 'conf.d'\n{}",
            data.display(),
            self.own_conf(EAST),
            etc = etc.display(),
        );
        self.write(&etc.join("postgresql.conf"), &conf);
        let file = format!("config_file={}", etc.join("postgresql.conf").display());
        self.start_postgres(EAST, &["-c", &file, "-c", "max_connections=60"]);
        self.sql(EAST, "create table t (x int)");
        self.sql(EAST, "insert into t values (1)");
    }

    /// A standby as Postgres's own documentation makes one.
    pub fn make_standby(&self) {
        let (data, from) = (self.data(WEST), format!("host={} port={}", address(EAST), self.ports[EAST]));
        let from = format!("{from} user=postgres application_name=west");
        self.run(
            "pg_basebackup",
            &["-D", text(&data), "-d", &from, "-R", "-C", "-S", "west", "-c", "fast", "--no-sync"],
        );
        self.write(&data.join("postgresql.conf"), &format!("max_connections = 60\n{}", self.own_conf(WEST)));
        let hba = fs::read_to_string(self.dir(EAST).join("etc/pg_hba.conf")).unwrap();
        self.write(&data.join("pg_hba.conf"), &hba);
        self.write(&data.join("pg_ident.conf"), "");
        self.start_postgres(WEST, &[]);
        self.until("it streams", || self.sql(EAST, "select count(*) from pg_stat_replication") == "1");
    }

    fn own_conf(&self, region: usize) -> String {
        format!(
            "listen_addresses = '{}'\nport = {}\nunix_socket_directories = '{}'\nshared_buffers = 16MB\n\
             dynamic_shared_memory_type = mmap\n",
            address(region),
            self.ports[region],
            self.dir(region).display()
        )
    }

    fn start_postgres(&self, region: usize, args: &[&str]) {
        let data = self.data(region);
        let args = [&["-D", text(&data)], args].concat();
        // Its parent is this test, which does not wait for it: the run's directory ends it.
        drop(self.spawn(region, &self.postgres_program("postgres"), &args, "own.log"));
        self.until("it accepts", || self.try_sql(region, "select 1").is_ok());
    }

    pub fn stop_postgres(&self, region: usize) {
        let pid = self.postmaster(region);
        kill(Pid::from_raw(pid), Signal::SIGINT).unwrap();
        self.until("it has ended", || !self.data(region).join("postmaster.pid").exists());
    }

    pub fn try_sql(&self, region: usize, statement: &str) -> Result<String, String> {
        let mut command = self.command(&self.postgres_program("psql"));
        let (port, host) = (self.ports[region].to_string(), self.dir(region));
        command.args([
            "-XqAt",
            "-U",
            "postgres",
            "-d",
            "postgres",
            "-p",
            &port,
            "-h",
            text(&host),
            "-c",
            statement,
        ]);
        match ended(&mut command) {
            (Some(0), said) => Ok(said.trim().to_owned()),
            (_, said) => Err(said),
        }
    }

    pub fn sql(&self, region: usize, statement: &str) -> String {
        self.try_sql(region, statement).unwrap_or_else(|error| panic!("{statement}: {error}"))
    }

    pub fn postmaster(&self, region: usize) -> i32 {
        let text = fs::read_to_string(self.data(region).join("postmaster.pid")).unwrap();
        text.lines().next().unwrap().trim().parse().unwrap()
    }

    /// What a clone would change: which directory it is.
    pub fn identity_of_data(&self, region: usize) -> u64 {
        fs::metadata(self.data(region)).unwrap().ino()
    }

    /// The operator's configuration.
    pub fn conf(&self, region: usize) -> String {
        let dir = if region == EAST { self.dir(region).join("etc") } else { self.data(region) };
        fs::read_to_string(dir.join("postgresql.conf")).unwrap()
    }

    pub fn auto(&self, region: usize) -> String {
        fs::read_to_string(self.data(region).join("postgresql.auto.conf")).unwrap()
    }

    pub fn write_agent(&self, region: usize, change: impl FnOnce(String) -> String) {
        let dir = self.dir(region);
        let config = format!(
            "cluster = \"demo\"\ngroup = \"orders\"\ninstance = \"{instance}\"\nregion = \"{region}\"\n\
             state_dir = \"{dir}/agent\"\n\n[[nodes]]\nid = 1\naddress = \"{node}\"\n\n[postgres]\nbin_dir = \"{bin}\"\n\
             data_dir = \"{dir}/data\"\nlisten_address = \"{ip}\"\nport = {port}\nsocket_dir = \"{dir}/agent.socket\"\n\
             gate_library = \"{gate}\"\nrun_dir = \"{lease}\"\nlog_file = \"{dir}/postgres.log\"\n",
            instance = instance(region),
            region = REGIONS[region],
            dir = dir.display(),
            node = self.nodes,
            bin = self.programs.postgres_bin.display(),
            ip = address(region),
            port = self.ports[region],
            gate = self.run.gate().display(),
            lease = self.run.lease_dir(region).display(),
        );
        self.write(&dir.join("agent.toml"), &change(config));
    }

    /// Runs a command of the agent's program; its exit code and what it said.
    pub fn run_agent(&self, region: usize, args: &[&str]) -> (Option<i32>, String) {
        let config = self.dir(region).join("agent.toml");
        let mut command = self.command(&self.run.program("regent-agent"));
        command.args(args).arg("--config").arg(config);
        ended(&mut command)
    }

    /// The same; it must end with that code.
    pub fn agent(&self, code: i32, region: usize, args: &[&str]) -> String {
        let (status, said) = self.run_agent(region, args);
        assert_eq!(status, Some(code), "regent-agent {args:?} said:\n{said}");
        eprintln!("regent-agent {args:?}\n{said}");
        said
    }

    pub fn start_agent(&mut self, region: usize) {
        let config = self.dir(region).join("agent.toml");
        let program = self.run.program("regent-agent");
        self.agents[region] = Some(self.spawn(region, &program, &["--config", text(&config)], "agent.log"));
    }

    pub fn stop_agent(&mut self, region: usize) {
        let mut agent = self.agents[region].take().unwrap();
        kill(Pid::from_raw(agent.id() as i32), Signal::SIGTERM).unwrap();
        agent.wait().unwrap();
    }

    /// Runs the admin's command, as soon as the node answers; it must end with that code.
    pub fn regent(&self, code: i32, args: &[&str]) -> String {
        let mut command = self.command(&self.run.program("regent"));
        let (status, said) = ended(command.args(args).env("REGENT_ENDPOINTS", self.nodes.to_string()));
        assert_eq!(status, Some(code), "regent {args:?} said:\n{said}");
        said
    }

    /// The first of the succession. (The one node is in the region of the primary: the forecast is of losing both.)
    pub fn heir(&self) -> Option<String> {
        let mut command = self.command(&self.run.program("regent"));
        command.args(["status", "-o", "json"]).env("REGENT_ENDPOINTS", self.nodes.to_string());
        let status: serde_json::Value = serde_json::from_slice(&command.output().unwrap().stdout).ok()?;
        Some(status["groups"][0]["succession"][0].as_str()?.to_owned())
    }

    pub fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds() {
            assert!(
                Instant::now() < deadline,
                "waited in vain until {what}; files in {}",
                self.run.path().display()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.run.keep();
        }
        let _ = processes::kill_all_under(self.run.path());
        self.agents.iter_mut().chain([&mut self.node]).for_each(processes::end);
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn ended(command: &mut Command) -> (Option<i32>, String) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}
