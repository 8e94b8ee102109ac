//! What Regent relies on, broken: a region's clocks that stand still while its processes run on, and a disk that is slow.
//!
//! A library in the processes of each region (`shim.c`, compiled into the run's directory) does it, told by a file a region.
//! Only a cluster that was started under it has it: nothing of it is in what is measured otherwise.
//!
//! The lie is of what a process is *told* (`clock_gettime` and its like, all clocks alike, through the C library, which
//! Postgres, the gate, the agent and the node go through). A wait in the kernel ends when it should; whoever then looks at
//! the clock sees no time gone. So timers of tokio do not fire: an agent is silent, and its lease never ends by its own clock.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use nix::time::{ClockId, clock_gettime};

use crate::clock::now_ns;

const SOURCE: &str = include_str!("shim.c");
/// Where the file holds what the clocks show when they stand still, how much longer a flush takes, and how far the wall clock
/// is ahead.
const STANDS_AT: u64 = 0;
const FLUSH_TAKES: u64 = 24;
const AHEAD_BY: u64 = 32;
const LENGTH: usize = 40;
/// The clocks in the order of the file.
const CLOCKS: [ClockId; 3] = [ClockId::CLOCK_REALTIME, ClockId::CLOCK_MONOTONIC, ClockId::CLOCK_BOOTTIME];
/// They are told before they get there: a clock that went back would be another fault, which no kernel has.
const AHEAD: Duration = Duration::from_millis(100);

/// The library, compiled.
pub struct Library(PathBuf);

impl Library {
    /// Compiles it into a directory.
    pub fn compile(dir: &Path) -> anyhow::Result<Library> {
        compile(SOURCE, dir, "shim").map(Library)
    }
}

/// Compiles what a process is to load before anything else into a directory, as `NAME.so`, beside its source.
pub fn compile(source: &str, dir: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let (file, library) = (dir.join(format!("{name}.c")), dir.join(format!("{name}.so")));
    fs::write(&file, source)?;
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o"]).arg(&library).arg(&file);
    let output = compiler.output().context("cannot run cc, the C compiler")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "cc {}: {said}", file.display());
    Ok(library)
}

/// What the processes of one region are told.
pub struct Shim {
    library: PathBuf,
    path: PathBuf,
    file: File,
}

impl Shim {
    /// The truth, at first.
    pub fn new(library: &Library, path: PathBuf) -> anyhow::Result<Shim> {
        let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
        file.write_all_at(&[0; LENGTH], 0)?;
        Ok(Shim { library: library.0.clone(), path, file })
    }

    /// What makes a process load it; its children inherit that.
    pub fn environment(&self) -> [(&'static str, &Path); 2] {
        [("LD_PRELOAD", &self.library), ("CHAOS_SHIM", &self.path)]
    }

    /// All clocks stand still in a moment. Returns when that is.
    pub fn stop_clocks(&self) -> anyhow::Result<u64> {
        let mut stand_at = [0; CLOCKS.len()];
        for (place, clock) in stand_at.iter_mut().zip(CLOCKS) {
            *place = u64::try_from((Duration::from(clock_gettime(clock)?) + AHEAD).as_nanos())?;
        }
        self.tell(STANDS_AT, &stand_at)?;
        let [_, _, boot] = stand_at;
        ensure!(now_ns() < boot, "this machine is too busy: the clocks were told too late, and went back");
        Ok(boot)
    }

    /// All clocks show the right time again.
    pub fn start_clocks(&self) -> anyhow::Result<()> {
        self.tell(STANDS_AT, &[0; CLOCKS.len()])
    }

    /// Each flush of Postgres' log takes that much longer from now on.
    pub fn slow_flushes(&self, by: Duration) -> anyhow::Result<()> {
        self.tell(FLUSH_TAKES, &[u64::try_from(by.as_nanos())?])
    }

    /// The wall clock is so far ahead of the true one from now on, or behind it; the others go on as they are.
    pub fn shift_wall_clock(&self, ahead_ms: i64) -> anyhow::Result<()> {
        let ahead_ns =
            ahead_ms.checked_mul(1_000_000).context("a wall clock within some centuries is wanted")?;
        self.tell(AHEAD_BY, &[ahead_ns.cast_unsigned()])
    }

    /// Each number at once: a mapping of the file shows all of it or nothing.
    fn tell(&self, place: u64, numbers: &[u64]) -> anyhow::Result<()> {
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_ne_bytes()).collect();
        let told = self.file.write_all_at(&bytes, place);
        told.with_context(|| format!("cannot write {}", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::process::{Child, ChildStdin, Stdio};

    use super::*;

    /// Tells, when asked, by a program that goes through the C library, the time in seconds since the epoch.
    struct Clock {
        child: Child,
        ask: ChildStdin,
        answers: std::io::Lines<BufReader<std::process::ChildStdout>>,
    }

    impl Clock {
        fn under(shim: &Shim) -> Clock {
            let mut bash = Command::new("bash");
            bash.args(["-c", "while read -r _; do echo $EPOCHREALTIME; done"]).envs(shim.environment());
            let mut child = bash.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
            let (ask, answers) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
            Clock { child, ask, answers: BufReader::new(answers).lines() }
        }

        fn ask(&mut self) -> f64 {
            self.ask.write_all(b"?\n").unwrap();
            self.answers.next().unwrap().unwrap().parse().unwrap()
        }
    }

    impl Drop for Clock {
        fn drop(&mut self) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    #[test]
    fn a_clock_stands_still_and_then_shows_the_right_time() {
        let dir = tempfile::tempdir().unwrap();
        let shim = Shim::new(&Library::compile(dir.path()).unwrap(), dir.path().join("shim")).unwrap();
        let mut clock = Clock::under(&shim);
        let before = clock.ask();
        assert!(clock.ask() > before, "it goes");
        let stands_ns = shim.stop_clocks().unwrap();
        while now_ns() <= stands_ns {
            std::thread::yield_now();
        }
        let stopped = clock.ask();
        // Whatever happens meanwhile, it is the same moment.
        assert!((0..100).all(|_| clock.ask() == stopped), "it goes on after {stopped}");
        shim.start_clocks().unwrap();
        assert!(clock.ask() > stopped);
    }

    #[test]
    fn a_wall_clock_is_ahead_or_behind_and_then_right_again() {
        let dir = tempfile::tempdir().unwrap();
        let shim = Shim::new(&Library::compile(dir.path()).unwrap(), dir.path().join("shim")).unwrap();
        let mut clock = Clock::under(&shim);
        let true_s = || Duration::from(clock_gettime(ClockId::CLOCK_REALTIME).unwrap()).as_secs_f64();
        for hours in [1, -1, 0] {
            shim.shift_wall_clock(hours * 3_600_000).unwrap();
            let ahead = clock.ask() - true_s();
            // It is asked before the true one, and rounded.
            let off = ahead - hours as f64 * 3600.0;
            assert!(off < 0.001 && off > -600.0, "{ahead} s ahead, expected {hours} h");
        }
    }
}
