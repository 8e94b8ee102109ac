//! The result as tables in Markdown: a row a fault, a column a contestant.

use std::fmt::Write as _;

use super::contestant::Kind;
use super::fault::Fault;
use super::results::Entry;

/// What some trials of one fault and one contestant come to, in a word.
type Cell = fn(&[&Entry]) -> String;

/// Everything that was measured, for a page.
pub fn all(entries: &[Entry]) -> String {
    let kinds: Vec<Kind> =
        Kind::ALL.into_iter().filter(|kind| entries.iter().any(|one| one.contestant == *kind)).collect();
    let tables: [(&str, Cell); 5] = [
        ("Write gap in seconds: median (least to most)", gap),
        ("Acknowledged rows lost, in each trial", |of| each(of, |one| one.trial.lost)),
        ("Rows acknowledged by an old primary after the new one, in each trial", |of| {
            each(of, |one| one.trial.by_two)
        }),
        ("Rows on a timeline that another instance had written on, in each trial", |of| {
            each(of, |one| one.trial.shared)
        }),
        ("Seconds until all was well again after the fault was undone, median", back),
    ];
    tables.into_iter().map(|(title, cell)| table(title, &kinds, entries, cell)).collect()
}

fn table(title: &str, kinds: &[Kind], entries: &[Entry], cell: Cell) -> String {
    let heads: Vec<&str> = kinds.iter().map(|kind| kind.words()).collect();
    let mut text =
        format!("\n{title}:\n\n| | {} |\n|---|{}\n", heads.join(" | "), "---|".repeat(kinds.len()));
    for fault in Fault::ALL {
        let of = |kind: &Kind| -> Vec<&Entry> {
            entries.iter().filter(|one| one.fault == fault && one.contestant == *kind).collect()
        };
        let cells: Vec<Vec<&Entry>> = kinds.iter().map(of).collect();
        if cells.iter().all(Vec::is_empty) {
            continue;
        }
        let words = cells.iter().map(|of| if of.is_empty() { "-".to_owned() } else { cell(of) });
        let _ = writeln!(text, "| {} | {} |", fault.words(), words.collect::<Vec<_>>().join(" | "));
    }
    text
}

fn gap(of: &[&Entry]) -> String {
    let mut gaps: Vec<f64> =
        of.iter().map(|one| one.trial.gap_ms.map_or(f64::INFINITY, |ms| ms / 1e3)).collect();
    gaps.sort_by(f64::total_cmp);
    let [least, middle, most] = [gaps[0], median(&gaps), gaps[gaps.len() - 1]].map(seconds);
    match (least == most, of.len()) {
        (true, _) | (_, 1) => middle,
        _ => format!("{middle} ({least} to {most})"),
    }
}

fn back(of: &[&Entry]) -> String {
    let mut times: Vec<f64> = of.iter().map(|one| one.trial.back_s.unwrap_or(f64::INFINITY)).collect();
    times.sort_by(f64::total_cmp);
    seconds(median(&times))
}

/// All of them, or one if they are equal: `0`, or `37, 41, 41`.
fn each(of: &[&Entry], figure: impl Fn(&Entry) -> usize) -> String {
    let mut figures: Vec<usize> = of.iter().map(|one| figure(one)).collect();
    figures.sort_unstable();
    if figures.first() == figures.last() {
        figures.truncate(1);
    }
    figures.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")
}

fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    match sorted.len() % 2 {
        1 => sorted[middle],
        _ => (sorted[middle - 1] + sorted[middle]) / 2.0,
    }
}

fn seconds(s: f64) -> String {
    match s {
        s if s.is_infinite() => "never".to_owned(),
        s if s < 10.0 => format!("{s:.2}"),
        s => format!("{s:.1}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::figures::Trial;
    use super::*;

    fn entry(contestant: Kind, fault: Fault, gap_ms: Option<f64>, lost: usize) -> Entry {
        let trial = Trial {
            gap_ms,
            new_primary: None,
            lost,
            by_two: 0,
            shared: 0,
            two_for_ms: 0.0,
            back_s: Some(2.0),
            valid: true,
        };
        Entry { contestant, fault, round: 1, trial }
    }

    #[test]
    fn a_row_a_fault_and_a_column_a_contestant() {
        let entries = [
            entry(Kind::Patroni, Fault::Region, Some(33_300.0), 3),
            entry(Kind::Patroni, Fault::Region, Some(28_100.0), 0),
            entry(Kind::Patroni, Fault::Region, None, 3),
            entry(Kind::Regent, Fault::Region, Some(541.0), 0),
            entry(Kind::Regent, Fault::Cut, Some(600.0), 0),
        ];
        let text = all(&entries);
        let lines: Vec<&str> = text.lines().filter(|line| line.starts_with('|')).collect();
        assert_eq!(lines[0], "| | Patroni, defaults | Regent |");
        assert_eq!(
            lines[2],
            "| region killed, the coordinator's leader in it | 33.3 (28.1 to never) | 0.54 |"
        );
        assert_eq!(lines[3], "| region cut off, an open session in it writing | - | 0.60 |");
        assert_eq!(lines[6], "| region killed, the coordinator's leader in it | 0, 3, 3 | 0 |");
        assert_eq!(lines.len(), 20, "{text}");
    }
}
