//! The table: a row for each mutant, and the verdict over all.

use anyhow::{Context, bail};
use regent_core::mutant::Mutant;

use super::Options;
use super::levels::{Caught, Level};

/// Asks the levels about each mutant and prints what they say. Returns whether every mutant was caught.
pub fn print(options: &Options, levels: &[Box<dyn Level>]) -> anyhow::Result<bool> {
    let mutants = chosen(&options.names)?;
    for level in levels {
        if let Some(Caught { seen, .. }) = level.catch(None)? {
            bail!("level {} objects to the rules as they are: {seen}", level.name());
        }
    }
    println!("{:<24} {:<8} {:>16}  what it does wrong", "mutant", "level", "noticed by");
    let mut missed = Vec::new();
    for mutant in &mutants {
        if !ask(*mutant, options, levels)? {
            missed.push(mutant.name());
        }
    }
    match missed.len() {
        0 => println!("\n{} mutants, all caught", mutants.len()),
        n => println!("\n{} mutants, {n} not caught: {}", mutants.len(), missed.join(", ")),
    }
    Ok(missed.is_empty())
}

fn chosen(names: &[String]) -> anyhow::Result<Vec<Mutant>> {
    if names.is_empty() {
        return Ok(Mutant::ALL.to_vec());
    }
    let known = || Mutant::ALL.iter().map(|mutant| mutant.name()).collect::<Vec<_>>().join(", ");
    let find = |name: &String| {
        Mutant::named(name).with_context(|| format!("no mutant {name}: known are {}", known()))
    };
    names.iter().map(find).collect()
}

/// Prints one mutant's row, or a row for each level that noticed. Returns whether any did.
fn ask(mutant: Mutant, options: &Options, levels: &[Box<dyn Level>]) -> anyhow::Result<bool> {
    let mut caught = false;
    for level in levels {
        let Some(found) = level.catch(Some(mutant))? else { continue };
        row(mutant, level.name(), &found.by);
        if options.seen {
            println!("{:<24} {}", "", found.seen);
        }
        caught = true;
        if !options.every_level {
            break;
        }
    }
    if !caught {
        row(mutant, "none", "-");
    }
    Ok(caught)
}

fn row(mutant: Mutant, level: &str, by: &str) {
    println!("{:<24} {level:<8} {by:>16}  {}", mutant.name(), mutant.breaks());
}
