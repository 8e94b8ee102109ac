//! The core's own tests as levels: its rules one by one, and its golden scripts. They are built when they are asked first,
//! with the mutants in them, and are told by `MUTANT` in their environment which to switch off.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use regent_core::mutant::Mutant;

use crate::levels::{Broke, Caught, Level};

/// A test program of the core.
pub struct Tests {
    name: &'static str,
    program: OnceCell<PathBuf>,
}

/// The rules and the golden scripts.
pub fn all() -> [Tests; 2] {
    ["rules", "golden"].map(|name| Tests { name, program: OnceCell::new() })
}

fn build(name: &str) -> anyhow::Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        // Of the whole workspace, as this program was built: for a package alone the libraries would have other features, and
        // be built once more.
        .args([
            "test",
            "--no-run",
            "--message-format=json",
            "--workspace",
            "--features=regent-mutants/mutants",
        ])
        .args(["--test", name])
        .current_dir(workspace())
        .output()
        .context("running cargo to build the core's tests")?;
    let log = String::from_utf8_lossy(&built.stderr);
    ensure!(built.status.success(), "the core's tests cannot be built:\n{log}");
    let messages = String::from_utf8_lossy(&built.stdout);
    program(&messages, name)
}

fn workspace() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Where cargo says that it put a test program.
fn program(messages: &str, name: &str) -> anyhow::Result<PathBuf> {
    let built = messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let ours = built.filter(|message| message["target"]["name"] == name);
    let program = ours.filter_map(|message| Some(PathBuf::from(message["executable"].as_str()?))).next();
    program.with_context(|| format!("cargo built no test program {name}"))
}

impl Tests {
    /// Built when it is needed first.
    fn program(&self) -> anyhow::Result<&Path> {
        if self.program.get().is_none() {
            let program = build(self.name)?;
            self.program.get_or_init(|| program);
        }
        self.program.get().map(PathBuf::as_path).context("it was built a moment ago")
    }
}

impl Level for Tests {
    fn name(&self) -> &'static str {
        self.name
    }

    fn catch(&self, mutant: Option<Mutant>) -> anyhow::Result<Option<Caught>> {
        let program = self.program()?;
        let mut test = Command::new(program);
        test.env_remove("MUTANT").env_remove("SCRIPT").env_remove("UPDATE_GOLDEN");
        test.env("RUST_BACKTRACE", "0").current_dir(workspace().join("coordinator/core"));
        if let Some(mutant) = mutant {
            test.env("MUTANT", mutant.name());
        }
        let ended = test.output().with_context(|| format!("running {}", program.display()))?;
        let output = String::from_utf8_lossy(&ended.stdout);
        Ok((!ended.status.success()).then(|| verdict(&output)))
    }
}

/// What the output of failed tests comes to: the first that panicked, and how many did.
fn verdict(output: &str) -> Caught {
    let mut lines = output.lines().skip_while(|line| !line.contains(" panicked at "));
    let (at, why) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    // The scripts are one test, which counts them itself.
    if let Some((scripts, why)) = why.split_once(" scripts: ") {
        return Caught { by: format!("{scripts} scripts"), broke: Broke::Script, seen: why.to_owned() };
    }
    let test = at.split('\'').nth(1).unwrap_or_default();
    let result = output.lines().rev().find_map(|line| line.strip_prefix("test result: FAILED. "));
    let count = |what: &str| {
        let part = result.unwrap_or_default().split("; ").find_map(|part| part.strip_suffix(what));
        part.and_then(|number| number.trim().parse::<usize>().ok()).unwrap_or(0)
    };
    let (passed, failed) = (count(" passed"), count(" failed"));
    Caught {
        by: format!("{failed} of {} tests", passed + failed),
        broke: Broke::Rule,
        seen: format!("{test}: {why}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_is_told_and_counted() {
        let rules = "running 3 tests\n\
             thread 'one_rule' (77) panicked at coordinator/core/tests/rules.rs:9:5:\n\
             it is broken\n\
             test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured\n";
        let caught = verdict(rules);
        assert_eq!((caught.by.as_str(), caught.seen.as_str()), ("2 of 3 tests", "one_rule: it is broken"));
        let golden = "thread 'every_script' (77) panicked at coordinator/core/tests/golden.rs:9:5:\n\
             4 of 39 scripts: a_switchover: line 3: expected one thing\n\
             test result: FAILED. 0 passed; 1 failed; 0 ignored\n";
        let caught = verdict(golden);
        assert_eq!(caught.by, "4 of 39 scripts");
        assert_eq!(caught.seen, "a_switchover: line 3: expected one thing");
    }
}
