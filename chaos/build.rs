//! Tells the program which revision of the code it was built from: a seed repeats a failure only with the same code.

use std::process::Command;

/// What a world is played by.
const PLAYED: [&str; 2] = ["../coordinator/core/src", "world/src"];

fn main() {
    // A commit is a line in this log.
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo::rerun-if-changed={log}");
    }
    PLAYED.iter().for_each(|path| println!("cargo::rerun-if-changed={path}"));
    let revision = git(&["rev-parse", "--short", "HEAD"]).unwrap_or_else(|| "unknown".to_owned());
    let status = ["status", "--porcelain", "--"].into_iter().chain(PLAYED).collect::<Vec<_>>();
    let changed = git(&status).is_some_and(|changes| !changes.is_empty());
    println!("cargo::rustc-env=REGENT_REVISION={revision}{}", if changed { " with changes" } else { "" });
}

/// What git says; nothing where there is no git, or no repository.
fn git(args: &[&str]) -> Option<String> {
    let said = Command::new("git").args(args).output().ok().filter(|said| said.status.success())?;
    Some(String::from_utf8_lossy(&said.stdout).trim().to_owned())
}
