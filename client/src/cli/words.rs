//! Numbers in words that people read at a glance.

pub(super) use crate::error::in_words as span;
use std::borrow::Cow;
use std::time::{Duration, UNIX_EPOCH};

/// Bytes: `0 B`, `17 KiB`, `1.5 GiB`.
pub fn bytes(count: u64) -> String {
    let mut unit = "B";
    let (mut whole, mut rest) = (count, 0);
    for larger in ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"] {
        if whole < 1_024 {
            break;
        }
        (rest, whole, unit) = (whole % 1_024, whole / 1_024, larger);
    }
    match rest * 10 / 1_024 {
        tenths if tenths > 0 && whole < 10 => format!("{whole}.{tenths} {unit}"),
        _ => format!("{whole} {unit}"),
    }
}

/// How long ago something was heard.
pub fn ago(heard: Option<Duration>) -> String {
    heard.map_or_else(|| "never".to_owned(), |heard| format!("{} ago", span(heard)))
}

/// A wall clock, in UTC.
pub fn time(unix_ms: u64) -> String {
    let at = UNIX_EPOCH.checked_add(Duration::from_millis(unix_ms));
    // Years beyond 9999 cannot be written; a clock that wrong deserves its number.
    match at.filter(|_| unix_ms < 253_402_300_800_000) {
        Some(at) => humantime::format_rfc3339_millis(at).to_string(),
        None => format!("{unix_ms} ms"),
    }
}

/// A list in words.
pub fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    if items.is_empty() { "none".to_owned() } else { items.join(", ") }
}

/// The beginning of what may be the end of a long log.
pub fn brief(text: &str) -> String {
    const LONGEST: usize = 160;
    let line = text.lines().next().unwrap_or_default();
    let beginning: String = line.chars().take(LONGEST).collect();
    if beginning.len() < text.len() { beginning + "..." } else { beginning }
}

/// Text of others, with what could steer the terminal taken out.
pub fn clean(text: &str) -> Cow<'_, str> {
    if text.chars().any(char::is_control) {
        Cow::Owned(text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect())
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_in_words() {
        let table = [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_024, "1 KiB"),
            (1_536, "1.5 KiB"),
            (17 << 10, "17 KiB"),
            ((1 << 20) - 1, "1023 KiB"),
            (16 << 20, "16 MiB"),
            (u64::MAX, "15 EiB"),
        ];
        for (count, words) in table {
            assert_eq!(bytes(count), words);
        }
    }

    #[test]
    fn spans_in_words() {
        let table = [(0, "0 ms"), (999, "999 ms"), (1_000, "1 s"), (1_540, "1.5 s"), (90_000, "1 min")];
        for (ms, words) in table {
            assert_eq!(span(Duration::from_millis(ms)), words);
        }
        assert_eq!(ago(None), "never");
    }

    #[test]
    fn wall_clocks_in_words_whatever_they_show() {
        assert_eq!(time(1_795_600_000_123), "2026-11-25T09:46:40.123Z");
        assert_eq!(time(u64::MAX), "18446744073709551615 ms");
    }

    #[test]
    fn what_is_long_is_begun() {
        let long = "ä".repeat(161);
        let begun = format!("{}...", "ä".repeat(160));
        for (text, words) in [("", ""), ("one", "one"), ("one\ntwo", "one..."), (&long, &begun)] {
            assert_eq!(brief(text), words);
        }
    }

    #[test]
    fn the_text_of_others_cannot_steer_the_terminal() {
        assert_eq!(clean("a\u{1b}[2Jb\nc"), "a [2Jb c");
    }
}
