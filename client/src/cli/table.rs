//! Aligned tables that fit the terminal: what matters least goes first, then long names are shortened.

use super::words::clean;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// How a piece of text stands out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    Plain,
    Head,
    Good,
    Bad,
}

/// The text in its tone, if colours are wanted.
pub fn painted(text: &str, tone: Tone, colour: bool) -> String {
    let code = match tone {
        Tone::Head => "1",
        Tone::Good => "32",
        Tone::Bad => "1;31",
        Tone::Plain => return text.to_owned(),
    };
    if colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
}

/// A column: its head, and when it may go.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    pub head: &'static str,
    /// Numbers stand to the right.
    pub right: bool,
    /// The lowest goes first when the table is too wide; 0 never goes.
    pub goes: u8,
}

impl Column {
    pub const fn left(head: &'static str, goes: u8) -> Column {
        Column { head, right: false, goes }
    }

    pub const fn right(head: &'static str, goes: u8) -> Column {
        Column { head, right: true, goes }
    }
}

/// Rows under heads.
#[derive(Debug)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<(String, Tone)>>,
}

const GAP: usize = 2;
/// No column is shortened below this.
const SHORTEST: usize = 8;

impl Table {
    pub fn new(columns: &[Column]) -> Table {
        Table { columns: columns.to_vec(), rows: Vec::new() }
    }

    pub fn row(&mut self, cells: impl IntoIterator<Item = (String, Tone)>) {
        let cells = cells.into_iter().map(|(text, tone)| (clean(&text).into_owned(), tone));
        self.rows.push(cells.collect());
    }

    /// The table as text, a line for each row, no wider than `width` if that can be.
    pub fn render(&self, width: Option<usize>, colour: bool) -> String {
        let mut widths = self.widths();
        if let Some(width) = width {
            self.narrow(&mut widths, width);
        }
        let heads = self.columns.iter().map(|column| (column.head.to_owned(), Tone::Head)).collect();
        let mut text = String::new();
        for row in std::iter::once(&heads).chain(&self.rows) {
            text.push_str(&self.line(row, &widths, colour));
            text.push('\n');
        }
        text
    }

    /// The width of each column; `None` once it has gone.
    fn widths(&self) -> Vec<Option<usize>> {
        let cell = |index: usize| self.rows.iter().map(move |row| row[index].0.width()).max().unwrap_or(0);
        self.columns
            .iter()
            .enumerate()
            .map(|(index, column)| Some(cell(index).max(column.head.len())))
            .collect()
    }

    fn narrow(&self, widths: &mut [Option<usize>], limit: usize) {
        let total =
            |widths: &[Option<usize>]| widths.iter().flatten().map(|width| width + GAP).sum::<usize>();
        let limit = limit + GAP;
        let mut order: Vec<usize> = (0..widths.len()).filter(|&index| self.columns[index].goes > 0).collect();
        order.sort_by_key(|&index| self.columns[index].goes);
        for index in order {
            if total(widths) > limit {
                widths[index] = None;
            }
        }
        while total(widths) > limit {
            let widest =
                widths.iter_mut().flatten().filter(|width| **width > SHORTEST).max_by_key(|width| **width);
            let Some(widest) = widest else { return };
            *widest -= 1;
        }
    }

    fn line(&self, row: &[(String, Tone)], widths: &[Option<usize>], colour: bool) -> String {
        let mut line = String::new();
        for ((column, (text, tone)), width) in self.columns.iter().zip(row).zip(widths) {
            let Some(width) = *width else { continue };
            let text = shortened(text, width);
            let space = " ".repeat(width.saturating_sub(text.width()));
            let text = painted(&text, *tone, colour);
            line.push_str(&if column.right { space + &text } else { text + &space });
            line.push_str(&" ".repeat(GAP));
        }
        line.truncate(line.trim_end().len());
        line
    }
}

/// The text, cut to a width with a mark that it was.
pub fn shortened(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut kept = String::new();
    for c in text.chars() {
        if kept.width() + c.width().unwrap_or(0) + 1 > width {
            break;
        }
        kept.push(c);
    }
    kept + "\u{2026}"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Table {
        let columns = [Column::left("NAME", 0), Column::right("LAG", 0), Column::left("ADDRESS", 1)];
        let mut table = Table::new(&columns);
        for (name, lag, address) in [("orders-us-east", "0 B", "10.0.0.1:5432"), ("注文", "1.5 MiB", "h:1")]
        {
            table.row([name, lag, address].map(|text| (text.to_owned(), Tone::Plain)));
        }
        table
    }

    #[test]
    fn columns_align_by_what_the_eye_sees() {
        let expected = "\
NAME                LAG  ADDRESS
orders-us-east      0 B  10.0.0.1:5432
注文            1.5 MiB  h:1
";
        assert_eq!(sample().render(None, false), expected);
    }

    #[test]
    fn a_narrow_terminal_loses_what_matters_least_then_the_ends_of_names() {
        let without_address = "\
NAME                LAG
orders-us-east      0 B
注文            1.5 MiB
";
        assert_eq!(sample().render(Some(30), false), without_address);
        for width in 17..23 {
            let text = sample().render(Some(width), false);
            assert!(text.lines().all(|line| line.width() <= width), "{width}:\n{text}");
            assert!(text.contains("\u{2026}"));
        }
    }

    #[test]
    fn colours_do_not_count_as_width() {
        let bare = sample().render(None, false);
        let painted = sample().render(None, true);
        assert_eq!(painted.replace("\u{1b}[1m", "").replace("\u{1b}[0m", ""), bare);
    }
}
