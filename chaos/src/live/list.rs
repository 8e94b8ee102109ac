//! `regent-chaos list`: which scenarios there are.

use clap::ValueEnum;
use serde::Serialize;

use crate::scenario::{self, Scenario};
use crate::terminal::{bold, dim};

/// How it is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
    /// For documents.
    Markdown,
}

/// What `regent-chaos list` can be asked for.
#[derive(clap::Args)]
pub struct Args {
    /// Only those of a class
    #[arg(long)]
    pub class: Option<String>,
    /// How it is shown
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
}

const HEAD: &str = "| scenario | class | what is done | mode | promotions | write gap within | whole within |\n\
                    |---|---|---|---|---|---|---|\n";

#[derive(Serialize)]
struct Shown<'a> {
    name: &'a str,
    class: String,
    what: &'a str,
    ci: bool,
    needs: &'static str,
    gap_within_ms: Option<u128>,
    mode: String,
    regions: usize,
    faults: usize,
    promotions: String,
    heals_within_s: u64,
}

/// Shows them.
pub fn run(args: &Args) -> anyhow::Result<bool> {
    let all = scenario::all()?;
    let wanted = |one: &&Scenario| args.class.as_ref().is_none_or(|class| one.class.to_string() == *class);
    let shown: Vec<Shown> = all.iter().filter(wanted).map(show).collect();
    match args.output {
        Format::Json => println!("{}", serde_json::to_string_pretty(&shown)?),
        Format::Table => table(&shown),
        Format::Markdown => print!("{HEAD}{}", shown.iter().map(row).collect::<String>()),
    }
    Ok(true)
}

fn show(scenario: &Scenario) -> Shown<'_> {
    Shown {
        name: &scenario.name,
        class: scenario.class.to_string(),
        what: &scenario.what,
        ci: scenario.ci,
        needs: "root",
        gap_within_ms: scenario.gap_within.map(|bound| bound.as_millis()),
        mode: scenario.setting.mode.to_string(),
        regions: scenario.setting.regions,
        faults: scenario.schedule.len(),
        promotions: scenario.promotions.to_string(),
        heals_within_s: scenario.heals_within.as_secs(),
    }
}

/// One line of a table.
fn row(one: &Shown) -> String {
    let Shown { name, class, what, mode, promotions, heals_within_s, .. } = one;
    let gap = one.gap_within_ms.map_or("-".to_owned(), |ms| format!("{:.1} s", ms as f64 / 1e3));
    let ci = if one.ci { ", ci" } else { "" };
    format!("| `{name}` | {class}{ci} | {what} | {mode} | {promotions} | {gap} | {heals_within_s} s |\n")
}

fn table(shown: &[Shown]) {
    let width = shown.iter().map(|one| one.name.len()).max().unwrap_or(0);
    let mut class = "";
    for one in shown {
        if one.class != class {
            println!("{}{}", if class.is_empty() { "" } else { "\n" }, bold(&one.class));
            class = &one.class;
        }
        let ci = if one.ci { "ci" } else { "  " };
        println!("  {:<width$}  {}  {}", one.name, dim(ci), one.what);
    }
    println!(
        "\n{}",
        dim(format!(
            "{} scenarios; ci: run by `regent-chaos live --ci`. All need root, for a network of their own.",
            shown.len()
        ))
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_each_scenario_as_it_is() {
        let document = include_str!("../../../docs/chaos.md");
        for scenario in scenario::all().unwrap() {
            let row = row(&show(&scenario));
            assert!(
                document.contains(&row),
                "docs/chaos.md is of before; `regent-chaos list -o markdown` prints its table:\n{row}"
            );
        }
    }
}
