//! Figures as a table for people and as JSON for programs.

use std::path::Path;

use anyhow::Context;
use serde::Serialize;
use serde_json::json;

use crate::terminal::{bold, dim};

/// A line of a table.
pub trait Row: Serialize {
    /// The headings.
    const COLUMNS: &'static [&'static str];
    /// The cells, as many as there are headings.
    fn cells(&self) -> Vec<String>;
}

/// Prints the table; writes the same figures to `json`.
pub fn tell<R: Row>(bench: &str, rows: &[R], json: Option<&Path>) -> anyhow::Result<()> {
    let cells: Vec<Vec<String>> = rows.iter().map(Row::cells).collect();
    let headings: Vec<String> = R::COLUMNS.iter().map(|heading| (*heading).to_string()).collect();
    let width = |column: usize| {
        let all = cells.iter().chain([&headings]);
        all.map(|row| row[column].chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    println!("\n{}", dim(line(&headings, &widths)));
    for row in &cells {
        println!("{}", bold(line(row, &widths)));
    }
    let Some(path) = json else { return Ok(()) };
    let text = serde_json::to_string_pretty(&json!({ "bench": bench, "figures": rows }))?;
    std::fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))
}

/// The first column is text, the others are figures.
fn line(cells: &[String], widths: &[usize]) -> String {
    let padded = cells.iter().zip(widths).enumerate().map(|(column, (cell, width))| match column {
        0 => format!("{cell:<width$}"),
        _ => format!("{cell:>width$}"),
    });
    padded.collect::<Vec<_>>().join("   ")
}

/// The value below which a share of the sorted ones lies.
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    sorted[((sorted.len() as f64 * share) as usize).min(last)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_one_of_the_figures() {
        let figures: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!((quantile(&figures, 0.5), quantile(&figures, 0.99)), (51.0, 100.0));
        assert_eq!((quantile(&figures, 1.0), quantile(&[], 0.5)), (100.0, 0.0));
    }

    #[test]
    fn columns_stand_below_each_other() {
        let widths = [5, 4];
        let rows = [["a", "1"], ["bcdef", "2345"]].map(|row| row.map(str::to_string));
        assert_eq!(rows.map(|row| line(&row, &widths)), ["a          1", "bcdef   2345"]);
    }
}
