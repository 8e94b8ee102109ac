//! The table: a row for each mutant, or for each level that noticed it, and the verdict over all.

use std::cell::Cell;
use std::collections::BTreeSet;

use anyhow::{Context, bail};
use regent_core::mutant::Mutant;
use regent_world::Theorem;

use crate::levels::{Broke, Caught, Level};
use crate::{Options, worlds};

/// Asks the levels about each mutant and prints what they say. Returns whether every mutant was caught and, when all
/// were asked about, whether every theorem that the world judges was what one of them broke first.
pub fn print(options: &Options, mutants: &[Mutant], levels: Vec<Box<dyn Level>>) -> anyhow::Result<bool> {
    let mut asked: Vec<Asked> = levels.into_iter().map(Asked::new).collect();
    println!(
        "{:<24} {:<8} {:>16}  {:<35} what it does wrong",
        "mutant", "level", "noticed by", "broken first"
    );
    let (mut missed, mut broken) = (Vec::new(), BTreeSet::new());
    for mutant in mutants {
        if !ask(*mutant, options, &mut asked, &mut broken)? {
            missed.push(mutant.name());
        }
    }
    let silent = if options.names.is_empty() { aim(options, &mut broken) } else { Vec::new() };
    if options.every_level {
        let counts: Vec<String> =
            asked.iter().map(|level| format!("{} {}", level.level.name(), level.noticed)).collect();
        println!("\nnoticed, of {}, by level: {}", mutants.len(), counts.join(", "));
    }
    match missed.len() {
        0 => println!("\n{} mutants, all caught", mutants.len()),
        n => println!("\n{} mutants, {n} not caught: {}", mutants.len(), missed.join(", ")),
    }
    if options.names.is_empty() {
        let judged = Theorem::ALL.len();
        println!(
            "{judged} theorems are judged in the world; {} were broken first by a mutant",
            judged - silent.len()
        );
    }
    let mut shown = true;
    for theorem in &silent {
        let why = worlds::UNAIMED.iter().find(|(known, _)| known == theorem).map(|(_, why)| *why);
        println!(
            "  no mutant breaks this one first: {theorem}{}",
            why.map(|why| format!(" ({why})")).unwrap_or_default()
        );
        shown &= why.is_some();
    }
    Ok(missed.is_empty() && shown)
}

/// The mutants of these names, or all.
pub fn chosen(names: &[String]) -> anyhow::Result<Vec<Mutant>> {
    if names.is_empty() {
        return Ok(Mutant::ALL.to_vec());
    }
    let known = || Mutant::ALL.iter().map(|mutant| mutant.name()).collect::<Vec<_>>().join(", ");
    let find = |name: &String| {
        Mutant::named(name).with_context(|| format!("no mutant {name}: known are {}", known()))
    };
    names.iter().map(find).collect()
}

/// A level, and what came of asking it.
struct Asked {
    level: Box<dyn Level>,
    /// Whether it is known to object to nothing while all rules are in force.
    sound: Cell<bool>,
    noticed: usize,
}

impl Asked {
    fn new(level: Box<dyn Level>) -> Asked {
        Asked { level, sound: Cell::new(false), noticed: 0 }
    }

    /// What it says of a mutant. Its word counts only if it has nothing to say without one: that is asked once, when it
    /// first notices anything.
    fn catch(&self, mutant: Mutant) -> anyhow::Result<Option<Caught>> {
        let found = self.level.catch(Some(mutant))?;
        if found.is_some()
            && !self.sound.replace(true)
            && let Some(Caught { seen, .. }) = self.level.catch(None)?
        {
            bail!("level {} objects to the rules as they are: {seen}", self.level.name());
        }
        Ok(found)
    }
}

/// Prints one mutant's row, or a row for each level that noticed. Returns whether any check did.
fn ask(
    mutant: Mutant,
    options: &Options,
    levels: &mut [Asked],
    broken: &mut BTreeSet<Theorem>,
) -> anyhow::Result<bool> {
    let mut caught = false;
    for asked in levels {
        let Some(found) = asked.catch(mutant)? else { continue };
        row(mutant, asked.level.name(), &found.by, &found.broke.to_string());
        if options.seen {
            println!("{:<24} {}", "", found.seen);
        }
        match found.broke {
            Broke::Panic => continue,
            Broke::Theorem(theorem) => _ = broken.insert(theorem),
            _ => {}
        }
        (caught, asked.noticed) = (true, asked.noticed + 1);
        if !options.every_level {
            break;
        }
    }
    if !caught {
        row(mutant, "none", "-", "-");
    }
    Ok(caught)
}

/// For each theorem that no mutant has broken first so far, asks about the mutant that is aimed at it. Returns those of
/// which none does.
fn aim(options: &Options, broken: &mut BTreeSet<Theorem>) -> Vec<Theorem> {
    for (theorem, mutant, profile) in worlds::AIMED {
        let wanted = (!broken.contains(&theorem)).then(|| worlds::aimed(theorem, mutant, profile));
        let Some(found) = wanted.flatten() else { continue };
        row(mutant, "world", &found.by, &found.broke.to_string());
        if options.seen {
            println!("{:<24} {}", "", found.seen);
        }
        broken.insert(theorem);
    }
    Theorem::ALL.into_iter().filter(|theorem| !broken.contains(theorem)).collect()
}

fn row(mutant: Mutant, level: &str, by: &str, broke: &str) {
    println!("{:<24} {level:<8} {by:>16}  {broke:<35} {}", mutant.name(), mutant.breaks());
}
