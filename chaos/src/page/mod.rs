//! A run's timeline as one HTML file that needs nothing else: a lane for every process and for the clients of each region,
//! what was done to them behind, who was primary in which epoch, every event of the audit files, and where writes stopped.
//!
//! Here is what is shown, as plain data in milliseconds since the first fault; how it is drawn is in `page.html`.

mod data;
mod spans;

use crate::check::Verdict;
use crate::record::Record;

const PAGE: &str = include_str!("page.html");
/// Where the data goes.
const HERE: &str = "\"DATA\"";

/// The page of a record.
pub fn html(record: &Record, verdict: &Verdict) -> String {
    let data = serde_json::to_string(&data::of(record, verdict)).unwrap_or_default();
    // What would end the script in the middle of a text.
    let data = data.replace("</", "<\\/");
    let title = format!("{} {}", record.run.scenario, record.run.seed);
    PAGE.replace("TITLE", &escaped(&title)).replacen(HERE, &data, 1)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
