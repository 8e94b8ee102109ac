//! Plays every script of `tests/scripts` in the world (`regent-world`) and compares the transcript with the file, byte for byte.
//!
//! A script is a transcript: lines beginning with `>` are commands, with `#` comments, all others say what happened.
//! `UPDATE_GOLDEN=1 cargo test -p regent-core --test golden` writes what happens now; read the difference before
//! you keep it. What a script `expect`s, and what the world checks at every step, cannot be rewritten that way.
//! `SCRIPT=name` plays only those whose name contains it. With the feature `mutants`, `MUTANT=name` plays them with that
//! rule of the core switched off (`regent-mutants`).

use std::path::{Path, PathBuf};

fn scripts() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let wanted =
        std::env::var_os("SCRIPT").map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("the folder of scripts")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.to_string_lossy().contains(&wanted))
        .collect();
    found.sort();
    found
}

fn difference(expected: &str, got: &str) -> Option<String> {
    let (mut old, mut new) = (expected.lines(), got.lines());
    for number in 1.. {
        let (old, new) = (old.next(), new.next());
        if old.is_none() && new.is_none() {
            return None;
        }
        if old != new {
            return Some(format!("line {number}: expected {old:?}, got {new:?}"));
        }
    }
    None
}

#[cfg(feature = "mutants")]
fn switch_off() {
    use regent_core::mutant::{Mutant, select};
    let name = std::env::var_os("MUTANT").map(|name| name.to_string_lossy().into_owned());
    select(name.map(|name| Mutant::named(&name).expect("the name of a mutant")));
}

#[test]
fn every_script_plays_as_written() {
    #[cfg(feature = "mutants")]
    switch_off();
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut failed = Vec::new();
    let scripts = scripts();
    for path in &scripts {
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let text = std::fs::read_to_string(path).expect("a script");
        let (transcript, broken) = regent_world::play(&text);
        if !broken.is_empty() {
            failed.push(format!("{name}: {}\n{transcript}", broken.join("; ")));
        } else if update {
            std::fs::write(path, &transcript).expect("the script can be written");
        } else if let Some(difference) = difference(&text, &transcript) {
            failed.push(format!("{name}: {difference}"));
        }
    }
    let (many, all) = (failed.len(), scripts.len());
    assert!(failed.is_empty(), "{many} of {all} scripts: {}", failed.join("\n\n"));
}
