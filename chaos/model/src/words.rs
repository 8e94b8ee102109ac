//! How things are written in a trace: instances in capitals, witnesses as `wa`. And the names of those in it.

use regent_core::ids::{GroupName, InstanceName, NodeId};
use regent_core::quorum::Electorate;

/// The group of every configuration.
pub fn group() -> GroupName {
    GroupName::new("g").expect("a valid name")
}

/// The instance of that number: a, b, c.
pub fn instance(number: usize) -> InstanceName {
    InstanceName::new(letter(number).to_string()).expect("a letter is a valid name")
}

/// The number of an instance.
pub fn number_of(name: &InstanceName) -> usize {
    usize::from(name.as_str().as_bytes()[0] - b'a')
}

/// The node of that number.
pub fn node(number: usize) -> NodeId {
    NodeId(number as u64 + 1)
}

/// The number of a node.
pub fn place_of(id: NodeId) -> usize {
    usize::try_from(id.0 - 1).expect("few nodes")
}

/// An instance, as written.
pub fn inst(name: &InstanceName) -> String {
    name.as_str().to_uppercase()
}

/// A witness, as written.
pub fn witness(id: NodeId) -> String {
    format!("w{}", letter(place_of(id)))
}

/// Witnesses, as written.
pub fn witnesses<'a>(ids: impl IntoIterator<Item = &'a NodeId>) -> String {
    ids.into_iter().map(|id| witness(*id)).collect::<Vec<_>>().join(" ")
}

/// The electorate of those numbers.
pub fn electorate(numbers: &[usize]) -> Electorate {
    numbers.iter().map(|number| node(*number)).collect()
}

fn letter(number: usize) -> char {
    char::from(b'a' + u8::try_from(number).expect("few processes"))
}
