//! The program `regent-chaos wan`, as a person meets it, and what is left of it.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const PROGRAM: &str = env!("CARGO_BIN_EXE_regent-chaos");
const TOPOLOGY: &str = "regions = [\"a\", \"b\"]\ndefault = { delay = \"1ms\" }\n";

/// A running network. Dropped, it has its input's end.
struct Alone {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    /// All that it has said until it was ready.
    said: String,
}

impl Alone {
    /// Waits until it is ready; none if it ended instead, and why.
    fn start(command: &mut Command) -> Result<Alone, String> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut alone = Alone { child, input, output, said: String::new() };
        while !alone.said.ends_with("ready\n") {
            if alone.output.read_line(&mut alone.said).unwrap() == 0 {
                let errors = alone.child.stderr.take().unwrap();
                return Err(std::io::read_to_string(errors).unwrap());
            }
        }
        Ok(alone)
    }

    fn of(dir: &Path) -> Result<Alone, String> {
        fs::write(dir.join("topology.toml"), TOPOLOGY).unwrap();
        Alone::start(Command::new(PROGRAM).args(["wan", "--topology"]).arg(dir.join("topology.toml")))
    }

    /// What stands before a command to run it in a region.
    fn entry(&self, region: &str) -> Vec<String> {
        let line = self.said.lines().find(|line| line.split_whitespace().next() == Some(region)).unwrap();
        let words = line.split_whitespace().skip(2).map(str::to_owned);
        words.take_while(|word| word != "COMMAND").collect()
    }

    /// Not by `ip`, which is not everywhere.
    fn in_region(&self, region: &str, command: &[&str]) -> Command {
        let entry = self.entry(region);
        let mut entered = Command::new("nsenter");
        match entry.last().unwrap() {
            name if entry[0] == "ip" => entered.arg(format!("--net=/run/netns/{name}")),
            _ => entered.args(&entry[1..]),
        };
        entered.args(command);
        entered
    }

    /// Says a line and reads one.
    fn ask(&mut self, line: &str) -> String {
        self.tell(line);
        let mut answer = String::new();
        self.output.read_line(&mut answer).unwrap();
        answer
    }

    fn tell(&mut self, line: &str) {
        writeln!(self.input.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Packets that have arrived from one to another.
    fn arrived(&mut self, from: &str, to: &str) -> u64 {
        self.tell("show");
        let (mut found, mut packets) = (None, false);
        loop {
            let mut line = String::new();
            assert!(self.output.read_line(&mut line).unwrap() > 0, "it ended");
            let words: Vec<&str> = line.split_whitespace().collect();
            packets |= words == ["Packets"];
            match words[..] {
                ["late", ..] => return found.unwrap(),
                [a, b, arrived, ..] if packets && (a, b) == (from, to) => {
                    found = Some(arrived.parse().unwrap())
                }
                _ => {}
            }
        }
    }

    /// Ends its input; says how it ended and what it said.
    fn end(mut self) -> (Option<i32>, String) {
        self.input.take();
        let rest = std::io::read_to_string(&mut self.output).unwrap();
        (self.child.wait().unwrap().code(), rest)
    }
}

/// Also after a failure.
impl Drop for Alone {
    fn drop(&mut self) {
        self.input.take();
        let _ = self.child.wait();
    }
}

/// Says that a test was skipped, unless it failed for another reason than a lack of rights.
fn skip(test: &str, why: &str) {
    let rights = ["is missing:", "are missing", "expected /dev/net/tun"];
    assert!(rights.iter().any(|right| why.contains(right)), "{test}: {why}");
    eprintln!("skipped: {test}: {}", why.trim());
}

fn name_of(alone: &Alone, region: &str) -> Option<String> {
    alone.entry(region).into_iter().find(|word| word.starts_with("regent-wan-"))
}

fn is_there(name: &str) -> bool {
    Path::new("/run/netns").join(name).exists()
}

#[test]
fn it_says_what_is_where_and_does_what_it_is_told_and_leaves_nothing() {
    let _alone = super::alone();
    let dir = tempfile::tempdir().unwrap();
    let mut alone = match Alone::of(dir.path()) {
        Ok(alone) => alone,
        Err(why) => return skip("the program does what it is told", &why),
    };
    let names: Vec<String> = ["a", "b"].iter().filter_map(|region| name_of(&alone, region)).collect();
    assert!(names.iter().all(|name| is_there(name)), "{names:?}");
    assert_eq!(alone.ask("link a b delay 2ms loss 0%"), "done\n");
    let send = ["bash", "-c", "echo ping >/dev/udp/10.77.2.1/9"];
    assert!(alone.in_region("a", &send).status().unwrap().success());
    while alone.arrived("a", "b") == 0 {}
    assert_eq!(alone.ask("cut a x"), "refused: there is no region `x`: expected one of a, b\n");
    assert_eq!(alone.ask("cut it"), "refused: there is no region `it`: expected one of a, b\n");
    assert_eq!(alone.ask("both"), "refused: expected link, cut, heal, show, help or quit, got `both`\n");
    let (code, rest) = alone.end();
    assert_eq!(code, Some(0), "{rest}");
    assert!(rest.contains("late by"), "{rest}");
    assert!(!names.iter().any(|name| is_there(name)), "{names:?} are left");
}

#[test]
fn a_signal_ends_it_as_well() {
    let _alone = super::alone();
    let dir = tempfile::tempdir().unwrap();
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let mut alone = match Alone::of(dir.path()) {
            Ok(alone) => alone,
            Err(why) => return skip("a signal ends it", &why),
        };
        let name = name_of(&alone, "a");
        kill(Pid::from_raw(alone.child.id() as i32), signal).unwrap();
        assert_eq!(alone.child.wait().unwrap().code(), Some(0), "{signal}");
        assert!(name.is_none_or(|name| !is_there(&name)));
    }
}

#[test]
fn what_a_killed_run_left_is_removed_by_the_next_and_what_runs_is_not() {
    let _alone = super::alone();
    let dir = tempfile::tempdir().unwrap();
    let (living, mut killed) = match (Alone::of(dir.path()), Alone::of(dir.path())) {
        (Ok(living), Ok(killed)) => (living, killed),
        (Err(why), _) | (_, Err(why)) => return skip("what a killed run left is removed", &why),
    };
    let (Some(kept), Some(left)) = (name_of(&living, "a"), name_of(&killed, "a")) else {
        eprintln!("skipped: what a killed run left is removed: names need root");
        return;
    };
    let mut daemon = killed.in_region("a", &["sleep", "600"]).spawn().unwrap();
    while inside(&daemon) != fs::metadata(Path::new("/run/netns").join(&left)).unwrap().ino() {
        std::thread::yield_now();
    }
    killed.child.kill().unwrap();
    killed.child.wait().unwrap();
    assert!(is_there(&left));
    let next = Alone::of(dir.path()).unwrap();
    assert!(next.said.contains(&format!("removed {left}, left by a run that was killed")), "{}", next.said);
    assert!(!daemon.wait().unwrap().success(), "who was in it is killed");
    assert!(!is_there(&left) && is_there(&kept));
    assert!(!next.said.contains(&kept), "{}", next.said);
}

fn inside(process: &Child) -> u64 {
    fs::metadata(format!("/proc/{}/ns/net", process.id())).unwrap().ino()
}

/// As an ordinary user with a device that everybody may open, as most systems have it: in a mount namespace of the test's own.
#[test]
fn without_root_it_works_in_a_user_namespace_or_says_what_is_missing() {
    let _alone = super::alone();
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: without root it works: needs root, to become somebody else");
        return;
    }
    // The program is run by a user who may not look into the checkout.
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    fs::copy(PROGRAM, dir.path().join("regent-chaos")).unwrap();
    fs::write(dir.path().join("topology.toml"), TOPOLOGY).unwrap();
    let nobody = "exec setpriv --reuid=65534 --regid=65534 --clear-groups -- ";
    let device = "mount -t tmpfs tmpfs /dev/net && mknod -m 666 /dev/net/tun c 10 200 && ";
    let run = "\"$1\"/regent-chaos wan --topology \"$1\"/topology.toml";
    let start = |script: &str| {
        Alone::start(Command::new("unshare").args(["--mount", "sh", "-c", script, "sh"]).arg(dir.path()))
    };
    match start(&format!("{device}{nobody}{run}")) {
        Ok(mut alone) => {
            assert!(alone.entry("a").contains(&"--user".to_owned()), "{}", alone.said);
            let send = ["bash", "-c", "echo ping >/dev/udp/10.77.2.1/9"];
            assert!(alone.in_region("a", &send).status().unwrap().success());
            while alone.arrived("a", "b") == 0 {}
            assert_eq!(alone.end().0, Some(0));
        }
        Err(why) => assert!(why.contains("no user namespace of its own is allowed"), "{why}"),
    }
    let why = start(&format!("mount -t tmpfs tmpfs /dev/net && exec {run}")).err().unwrap();
    assert!(why.contains("expected /dev/net/tun"), "{why}");
}
