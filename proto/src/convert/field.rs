//! The checks that every field coming from the wire goes through, and the error they give.

use super::{MAX_INSTANCES, MAX_SPAN_US, MAX_TEXT, MAX_WITNESSES};
use regent_core::ids::{BadName, Epoch, NodeId, Revision};
use regent_core::quorum::Electorate;
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

/// A field of a message cannot be what it says. The peer that sent the message is at fault: a newer release, another
/// program, or damage on the way.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: expected {expected}, got {got}")]
pub struct ConvertError {
    /// The field, with the messages around it: `certificate.votes.floor`.
    pub field: String,
    /// What it may be.
    pub expected: String,
    /// What it was, shortened when long.
    pub got: String,
}

impl ConvertError {
    pub(super) fn new(field: &str, expected: impl Into<String>, got: impl ToString) -> ConvertError {
        ConvertError { field: field.to_owned(), expected: expected.into(), got: got.to_string() }
    }

    /// The same error, seen from the message around.
    pub(super) fn within(mut self, outer: &str) -> ConvertError {
        self.field = format!("{outer}.{}", self.field);
        self
    }
}

impl From<ConvertError> for tonic::Status {
    fn from(error: ConvertError) -> tonic::Status {
        tonic::Status::invalid_argument(error.to_string())
    }
}

/// A text that was refused, shortened: it goes back to the sender in a header.
pub(super) fn quoted(text: &str) -> String {
    const SHOWN: usize = 80;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}... ({} bytes)", &text[..end], text.len()),
        None => format!("{text:?}"),
    }
}

/// The field must be there.
pub(super) fn required<T>(field: &str, value: Option<T>) -> Result<T, ConvertError> {
    value.ok_or_else(|| ConvertError::new(field, "a value", "none"))
}

/// A name of the core.
pub fn name<T: TryFrom<String, Error = BadName>>(field: &str, text: String) -> Result<T, ConvertError> {
    T::try_from(text).map_err(|bad| {
        let expected = format!(
            "{} {} name of 1 to 63 characters of a-z, 0-9, '-' or '_', beginning with a letter or digit",
            if bad.kind.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" },
            bad.kind
        );
        ConvertError::new(field, expected, quoted(&bad.got))
    })
}

/// A name of the core, or none.
pub(super) fn optional_name<T: TryFrom<String, Error = BadName>>(
    field: &str,
    text: Option<String>,
) -> Result<Option<T>, ConvertError> {
    text.map(|text| name(field, text)).transpose()
}

/// Distinct names, in their order.
pub(super) fn names<T>(field: &str, texts: Vec<String>) -> Result<Vec<T>, ConvertError>
where
    T: TryFrom<String, Error = BadName> + Ord + Clone,
{
    at_most(field, texts.len(), MAX_INSTANCES)?;
    let names: Vec<T> = texts.into_iter().map(|text| name(field, text)).collect::<Result<_, _>>()?;
    distinct(field, names.len(), names.iter().collect::<BTreeSet<_>>().len())?;
    Ok(names)
}

/// A list is not longer than that.
pub(super) fn at_most(field: &str, length: usize, limit: usize) -> Result<(), ConvertError> {
    if length <= limit {
        return Ok(());
    }
    Err(ConvertError::new(field, format!("at most {limit} entries"), length))
}

fn distinct(field: &str, length: usize, different: usize) -> Result<(), ConvertError> {
    if length == different {
        return Ok(());
    }
    Err(ConvertError::new(field, "distinct entries", format!("{} of them repeated", length - different)))
}

/// A number within a range.
pub(super) fn number(field: &str, got: u64, range: RangeInclusive<u64>) -> Result<u64, ConvertError> {
    if range.contains(&got) {
        return Ok(got);
    }
    Err(ConvertError::new(field, format!("{} to {}", range.start(), range.end()), got))
}

/// A number of standbys.
pub(super) fn few(field: &str, got: u32) -> Result<u8, ConvertError> {
    u8::try_from(got).map_err(|_| ConvertError::new(field, "0 to 255", got))
}

/// Numbers that grow by one stay far enough from the end that adding one cannot overflow.
const GROWING: u64 = i64::MAX as u64;

/// An epoch, or 0 for none.
pub(super) fn epoch(field: &str, got: u64) -> Result<Epoch, ConvertError> {
    number(field, got, 0..=GROWING).map(Epoch)
}

/// The epoch of somebody.
pub(super) fn real_epoch(field: &str, got: u64) -> Result<Epoch, ConvertError> {
    number(field, got, 1..=GROWING).map(Epoch)
}

/// A revision.
pub(super) fn revision(field: &str, got: u64) -> Result<Revision, ConvertError> {
    number(field, got, 0..=GROWING).map(Revision)
}

/// A node's id; 0 is what a missing field looks like.
pub fn node(field: &str, got: u64) -> Result<NodeId, ConvertError> {
    number(field, got, 1..=u64::MAX).map(NodeId)
}

/// Nodes in their order, each once.
pub(super) fn nodes(field: &str, ids: Vec<u64>) -> Result<Vec<NodeId>, ConvertError> {
    at_most(field, ids.len(), MAX_WITNESSES)?;
    let ids: Vec<NodeId> = ids.into_iter().map(|id| node(field, id)).collect::<Result<_, _>>()?;
    distinct(field, ids.len(), ids.iter().collect::<BTreeSet<_>>().len())?;
    Ok(ids)
}

/// The witnesses that govern; none only where the log knows nothing yet.
pub(super) fn electorate(field: &str, ids: Vec<u64>) -> Result<Electorate, ConvertError> {
    nodes(field, ids).map(|ids| ids.into_iter().collect())
}

/// The witnesses that govern, at least one.
pub(super) fn real_electorate(field: &str, ids: Vec<u64>) -> Result<Electorate, ConvertError> {
    match electorate(field, ids)? {
        none if none.is_empty() => Err(ConvertError::new(field, "at least one node", "none")),
        some => Ok(some),
    }
}

/// A span of microseconds: never zero, at most an hour.
pub(super) fn span(field: &str, us: u64) -> Result<Duration, ConvertError> {
    number(field, us, 1..=MAX_SPAN_US).map(Duration::from_micros)
}

/// A span in microseconds, rounded down: a promise told shorter than it is does no harm.
pub(super) fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// A text for people.
pub(super) fn text(field: &str, text: String) -> Result<String, ConvertError> {
    if text.len() <= MAX_TEXT {
        return Ok(text);
    }
    Err(ConvertError::new(
        field,
        format!("at most {MAX_TEXT} bytes of text"),
        format!("{} bytes", text.len()),
    ))
}

/// A text that must say something.
pub(super) fn filled(field: &str, value: String) -> Result<String, ConvertError> {
    if value.is_empty() {
        return Err(ConvertError::new(field, "a text", "none"));
    }
    text(field, value)
}

/// Where something is reached.
pub(super) fn address(field: &str, value: String) -> Result<String, ConvertError> {
    let port =
        |(host, port): (&str, &str)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0);
    if value.len() <= MAX_TEXT && value.rsplit_once(':').is_some_and(port) {
        return Ok(value);
    }
    Err(ConvertError::new(field, "host:port", quoted(&value)))
}

/// A text shortened to what the other side accepts, at a character's border.
pub(super) fn fitting(mut text: String) -> String {
    if text.len() > MAX_TEXT {
        let end = (0..=MAX_TEXT).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
        text.truncate(end);
    }
    text
}
