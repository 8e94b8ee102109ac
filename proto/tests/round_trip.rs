//! Whatever the core can say comes back from the wire as it was; whatever else comes from the wire is refused in words.

#![allow(clippy::unwrap_used)] // tests

mod samples;

use proptest::prelude::*;
use prost::Message;
use regent_core::message::{Standing, ToAgent, ToNode};
use regent_core::state::Group;
use regent_proto::convert::{ConvertError, FromAgent, NodeHello, agent_message};
use regent_proto::v1;

/// Through the bytes, as a peer would see it.
fn over_the_wire<W: Message + Default>(message: &W) -> W {
    W::decode(message.encode_to_vec().as_slice()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_an_agent_says(message in samples::to_witness()) {
        let back = FromAgent::try_from(over_the_wire(&agent_message("prod", message.clone()))).unwrap();
        prop_assert_eq!(back.cluster.is_some(), matches!(message, regent_core::message::ToWitness::Hello { .. }));
        prop_assert_eq!(back.message, message);
    }

    #[test]
    fn what_a_witness_says(message in samples::to_agent()) {
        let wire = v1::WitnessMessage::from(message.clone());
        prop_assert_eq!(ToAgent::try_from(over_the_wire(&wire)).unwrap(), message);
    }

    #[test]
    fn what_a_node_says(message in samples::to_node()) {
        let wire = v1::NodeMessage::from(message.clone());
        prop_assert_eq!(ToNode::try_from(over_the_wire(&wire)).unwrap(), message);
    }

    #[test]
    fn where_a_witness_stands(standing in samples::standing()) {
        let wire = v1::Standing::from(standing.clone());
        prop_assert_eq!(Standing::try_from(over_the_wire(&wire)).unwrap(), standing);
    }

    #[test]
    fn what_the_log_says_of_a_group(group in samples::group()) {
        let wire = v1::Group::from(group.clone());
        prop_assert_eq!(Group::try_from(over_the_wire(&wire)).unwrap(), group);
    }

    /// No bytes make a conversion panic, and every refusal fits into a header.
    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let fits = |error: ConvertError| prop::test_runner::TestCaseResult::from(
            if error.to_string().len() < 2_000 { Ok(()) } else { Err(TestCaseError::fail("too long")) }
        );
        if let Some(error) = v1::AgentMessage::decode(&bytes[..]).ok().and_then(|m| FromAgent::try_from(m).err()) {
            fits(error)?;
        }
        if let Some(error) = v1::WitnessMessage::decode(&bytes[..]).ok().and_then(|m| ToAgent::try_from(m).err()) {
            fits(error)?;
        }
        if let Some(error) = v1::NodeMessage::decode(&bytes[..]).ok().and_then(|m| ToNode::try_from(m).err()) {
            fits(error)?;
        }
        if let Some(error) = v1::NodeMessage::decode(&bytes[..]).ok().and_then(|m| NodeHello::try_from(m).err()) {
            fits(error)?;
        }
        if let Some(error) = v1::Group::decode(&bytes[..]).ok().and_then(|m| Group::try_from(m).err()) {
            fits(error)?;
        }
    }

    /// A good message with one byte changed is refused, or is another good message: never a panic, and never one that
    /// would not come back from the wire again.
    #[test]
    fn a_byte_changed(message in samples::to_agent(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = v1::WitnessMessage::from(message).encode_to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let Ok(wire) = v1::WitnessMessage::decode(&bytes[..]) else { return Ok(()) };
        let Ok(changed) = ToAgent::try_from(wire) else { return Ok(()) };
        let again = v1::WitnessMessage::from(changed.clone());
        prop_assert_eq!(ToAgent::try_from(over_the_wire(&again)).unwrap(), changed);
    }
}
