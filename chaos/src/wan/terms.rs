//! What a link is like, in the words of a person: `delay 40ms jitter 5ms loss 1%`. The same words stand in a topology file.

use std::fmt::{self, Display};
use std::num::NonZeroU64;
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;

/// Longer than this no packet is on its way.
const LONGEST: Duration = Duration::from_secs(60);
const SMALLEST_QUEUE: u64 = 1500;
const LARGEST_QUEUE: u64 = 1 << 30;

/// A value that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, got `{got}`")]
pub struct Wrong {
    expected: &'static str,
    got: String,
}

impl Wrong {
    pub(super) fn new(expected: &'static str, got: &str) -> Wrong {
        Wrong { expected, got: got.to_owned() }
    }
}

/// One way of a link: from one region to another.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Terms {
    /// The least time that a packet takes.
    pub delay: Span,
    /// Up to so much longer, each packet by chance.
    pub jitter: Span,
    /// Whether jitter lets packets overtake each other; else they wait for those before them.
    pub reorder: Toggle,
    /// Packets that vanish.
    pub loss: Share,
    /// Packets that arrive twice.
    pub duplicate: Share,
    /// How much passes.
    pub rate: Rate,
    /// How much waits for its turn at this rate; what comes when it is full vanishes.
    pub queue: Size,
}

/// Some of [`Terms`]: what is not named stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the names are those of Terms")]
pub struct Change {
    pub delay: Option<Span>,
    pub jitter: Option<Span>,
    pub reorder: Option<Toggle>,
    pub loss: Option<Share>,
    pub duplicate: Option<Share>,
    pub rate: Option<Rate>,
    pub queue: Option<Size>,
}

impl Change {
    /// From `delay 40ms loss 1%`: names and values in turn.
    pub fn parse(words: &[&str]) -> Result<Change, Wrong> {
        let mut change = Change::default();
        for pair in words.chunks(2) {
            let (name, value) = (pair[0], *pair.get(1).unwrap_or(&"nothing"));
            match name {
                "delay" => change.delay = Some(value.parse()?),
                "jitter" => change.jitter = Some(value.parse()?),
                "reorder" => change.reorder = Some(value.parse()?),
                "loss" => change.loss = Some(value.parse()?),
                "duplicate" => change.duplicate = Some(value.parse()?),
                "rate" => change.rate = Some(value.parse()?),
                "queue" => change.queue = Some(value.parse()?),
                other => {
                    return Err(Wrong::new("delay, jitter, reorder, loss, duplicate, rate or queue", other));
                }
            }
        }
        Ok(change)
    }

    /// These terms, changed.
    pub fn of(&self, terms: Terms) -> Terms {
        Terms {
            delay: self.delay.unwrap_or(terms.delay),
            jitter: self.jitter.unwrap_or(terms.jitter),
            reorder: self.reorder.unwrap_or(terms.reorder),
            loss: self.loss.unwrap_or(terms.loss),
            duplicate: self.duplicate.unwrap_or(terms.duplicate),
            rate: self.rate.unwrap_or(terms.rate),
            queue: self.queue.unwrap_or(terms.queue),
        }
    }
}

impl Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let said = |name: &str, value: Option<String>| value.map(|value| format!("{name} {value}"));
        let words = [
            said("delay", self.delay.map(|value| value.to_string())),
            said("jitter", self.jitter.map(|value| value.to_string())),
            said("reorder", self.reorder.map(|value| value.to_string())),
            said("loss", self.loss.map(|value| value.to_string())),
            said("duplicate", self.duplicate.map(|value| value.to_string())),
            said("rate", self.rate.map(|value| value.to_string())),
            said("queue", self.queue.map(|value| value.to_string())),
        ];
        f.pad(&words.into_iter().flatten().collect::<Vec<_>>().join(" "))
    }
}

/// A time of at most a minute, as in `40ms` or `1500us`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Span, Wrong> {
        let time = humantime::parse_duration(text).ok().filter(|time| *time <= LONGEST);
        time.map(Span).ok_or_else(|| Wrong::new("a time of at most 60s, as in 40ms", text))
    }
}

impl Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

/// On or off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Toggle(pub bool);

impl FromStr for Toggle {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Toggle, Wrong> {
        match text {
            "on" => Ok(Toggle(true)),
            "off" => Ok(Toggle(false)),
            _ => Err(Wrong::new("on or off", text)),
        }
    }
}

impl Display for Toggle {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.pad(if self.0 { "on" } else { "off" })
    }
}

/// A part of all packets, written in percent: `0.1%`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub struct Share(f64);

impl Share {
    /// From 0 to 1.
    pub(super) fn as_fraction(self) -> f64 {
        self.0
    }
}

impl FromStr for Share {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Share, Wrong> {
        let percent = text.strip_suffix('%').and_then(|number| number.parse().ok());
        let share = percent.filter(|percent: &f64| (0.0..=100.0).contains(percent));
        share
            .map(|percent| Share(percent / 100.0))
            .ok_or_else(|| Wrong::new("a share from 0% to 100%, as in 1%", text))
    }
}

impl Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        // 0.07 is not 7 hundredths exactly, and nobody wants to read that.
        write!(f, "{}%", (self.0 * 1e8).round() / 1e6)
    }
}

/// Bits a second, or no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Rate(Option<NonZeroU64>);

const RATES: [(&str, u64); 4] = [("gbit", 1_000_000_000), ("mbit", 1_000_000), ("kbit", 1000), ("bit", 1)];

impl Rate {
    /// How long so many bytes take; no time where there is no limit.
    pub(super) fn time_of(self, bytes: u64) -> Duration {
        let nanos =
            self.0.map_or(0, |bits_per_s| u128::from(bytes) * 8_000_000_000 / u128::from(bits_per_s.get()));
        // A GiB at one bit a second is more than 64 bits of nanoseconds; nobody waits for it.
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// How many bytes pass in so long.
    pub(super) fn bytes_in(self, time: Duration) -> u64 {
        let bits_per_s = self.0.map_or(0, NonZeroU64::get);
        u64::try_from(time.as_nanos() * u128::from(bits_per_s) / 8_000_000_000).unwrap_or(u64::MAX)
    }
}

impl FromStr for Rate {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Rate, Wrong> {
        if text == "unlimited" {
            return Ok(Rate(None));
        }
        let rate = with_unit(text, &RATES).and_then(NonZeroU64::new);
        let rate = rate.filter(|bits_per_s| bits_per_s.get() <= 100_000_000_000);
        rate.map(|bits_per_s| Rate(Some(bits_per_s))).ok_or_else(|| {
            Wrong::new("a rate of 1bit to 100gbit a second, as in 100mbit, or unlimited", text)
        })
    }
}

impl Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.0 {
            None => f.pad("unlimited"),
            Some(bits_per_s) => f.pad(&in_units(bits_per_s.get(), &RATES)),
        }
    }
}

/// Bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Size(u64);

const SIZES: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

impl Size {
    pub(super) fn bytes(self) -> u64 {
        self.0
    }
}

/// A router's buffer: 84 ms at 100 Mbit/s.
impl Default for Size {
    fn default() -> Size {
        Size(1 << 20)
    }
}

impl FromStr for Size {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Size, Wrong> {
        let size = with_unit(text, &SIZES).filter(|bytes| (SMALLEST_QUEUE..=LARGEST_QUEUE).contains(bytes));
        size.map(Size).ok_or_else(|| Wrong::new("a size from 1500B, a packet, to 1GiB, as in 256KiB", text))
    }
}

impl Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.pad(&in_units(self.0, &SIZES))
    }
}

/// Units are looked for from the longest word to the shortest: `mbit` ends in `bit`.
fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (number, unit) = units.iter().find_map(|(word, unit)| Some((text.strip_suffix(word)?, unit)))?;
    number.trim_end().parse::<u64>().ok()?.checked_mul(*unit)
}

fn in_units(value: u64, units: &[(&str, u64)]) -> String {
    let whole = units.iter().find(|(_, unit)| value.is_multiple_of(*unit));
    let (word, unit) = whole.expect("every whole number is a multiple of the last unit, one");
    format!("{}{word}", value / unit)
}

macro_rules! from_string {
    ($($value:ty),*) => {$(
        impl TryFrom<String> for $value {
            type Error = Wrong;

            fn try_from(text: String) -> Result<Self, Wrong> {
                text.parse()
            }
        }
    )*};
}

from_string!(Span, Toggle, Share, Rate, Size);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        for text in ["0s", "40ms", "1500us", "1s 500ms", "60s"] {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.to_string().parse(), Ok(span), "{text}");
        }
        for text in ["0%", "7%", "0.1%", "0.01%", "100%"] {
            assert_eq!(text.parse::<Share>().unwrap().to_string(), text);
        }
        for text in ["1bit", "56kbit", "100mbit", "100gbit", "unlimited"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
        for text in ["1500B", "2KiB", "256KiB", "1GiB"] {
            assert_eq!(text.parse::<Size>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_value_is_refused_with_what_was_expected() {
        let cases = [
            ("delay 40", "a time of at most 60s, as in 40ms, got `40`"),
            ("delay 61s", "a time of at most 60s, as in 40ms, got `61s`"),
            ("delay", "a time of at most 60s, as in 40ms, got `nothing`"),
            ("loss 1", "a share from 0% to 100%, as in 1%, got `1`"),
            ("loss 101%", "a share from 0% to 100%, as in 1%, got `101%`"),
            ("loss -1%", "a share from 0% to 100%, as in 1%, got `-1%`"),
            ("loss NaN%", "a share from 0% to 100%, as in 1%, got `NaN%`"),
            ("rate 0mbit", "a rate of 1bit to 100gbit a second, as in 100mbit, or unlimited, got `0mbit`"),
            ("rate 99999999999gbit", "a rate of 1bit to 100gbit a second, as in 100mbit, or unlimited, got"),
            ("queue 1499B", "a size from 1500B, a packet, to 1GiB, as in 256KiB, got `1499B`"),
            ("reorder yes", "on or off, got `yes`"),
            ("dealy 40ms", "delay, jitter, reorder, loss, duplicate, rate or queue, got `dealy`"),
        ];
        for (words, says) in cases {
            let words: Vec<&str> = words.split_whitespace().collect();
            let said = Change::parse(&words).unwrap_err().to_string();
            assert!(said.starts_with(&format!("expected {says}")), "{words:?}: {said}");
        }
    }

    #[test]
    fn a_change_leaves_alone_what_it_does_not_name() {
        let first =
            Change::parse(&["delay", "40ms", "loss", "1%", "rate", "1mbit"]).unwrap().of(Terms::default());
        let second = Change::parse(&["loss", "0%"]).unwrap().of(first);
        assert_eq!(second, Terms { loss: Share::default(), ..first });
    }

    #[test]
    fn a_rate_is_time_for_bytes_and_bytes_for_time() {
        let rate: Rate = "12mbit".parse().unwrap();
        assert_eq!(rate.time_of(1500), Duration::from_millis(1));
        assert_eq!(rate.bytes_in(Duration::from_millis(1)), 1500);
        assert_eq!(Rate(None).time_of(1500), Duration::ZERO);
    }
}
