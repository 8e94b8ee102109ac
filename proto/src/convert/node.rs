//! What nodes say to each other, and where a witness stands.

use super::MAX_INSTANCES;
use super::field::{
    ConvertError, at_most, electorate, epoch, filled, name, names, node, optional_name, real_epoch, required,
    revision,
};
use super::vote::{ids, texts};
use crate::v1;
use crate::v1::node_message::Message as Said;
use regent_core::ids::{Epoch, GroupName, InstanceName, NodeId};
use regent_core::message::{Standing, ToNode};

/// The first message of a node: who speaks, to whom, of which cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeHello {
    /// The cluster it belongs to.
    pub cluster: String,
    /// Who speaks.
    pub from: NodeId,
    /// To whom it means to speak.
    pub to: NodeId,
}

/// Which standing is asked for, by whom.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StandingQuery {
    /// The cluster of the asker.
    pub cluster: String,
    /// The group asked about.
    pub group: GroupName,
}

impl From<StandingQuery> for v1::GetStandingRequest {
    fn from(query: StandingQuery) -> v1::GetStandingRequest {
        v1::GetStandingRequest { cluster: query.cluster, group: query.group.into() }
    }
}

impl TryFrom<v1::GetStandingRequest> for StandingQuery {
    type Error = ConvertError;
    fn try_from(query: v1::GetStandingRequest) -> Result<StandingQuery, ConvertError> {
        Ok(StandingQuery { cluster: filled("cluster", query.cluster)?, group: name("group", query.group)? })
    }
}

impl From<NodeHello> for v1::NodeMessage {
    fn from(hello: NodeHello) -> v1::NodeMessage {
        let said = v1::NodeHello { cluster: hello.cluster, from: hello.from.0, to: hello.to.0 };
        v1::NodeMessage { message: Some(Said::Hello(said)) }
    }
}

impl TryFrom<v1::NodeMessage> for NodeHello {
    type Error = ConvertError;
    fn try_from(message: v1::NodeMessage) -> Result<NodeHello, ConvertError> {
        let Said::Hello(hello) = required("message", message.message)? else {
            return Err(ConvertError::new("message", "hello first", "another message"));
        };
        let from = node("hello.from", hello.from)?;
        let to = node("hello.to", hello.to)?;
        Ok(NodeHello { cluster: filled("hello.cluster", hello.cluster)?, from, to })
    }
}

impl From<ToNode> for v1::NodeMessage {
    fn from(message: ToNode) -> v1::NodeMessage {
        let said = match message {
            ToNode::Vote(vote) => Said::Vote(vote.into()),
            ToNode::Decided(certificate) => Said::Decided(certificate.into()),
            ToNode::Solicit(solicit) => Said::Solicit(solicit.into()),
            ToNode::Standing(standing) => Said::Standing(standing.into()),
        };
        v1::NodeMessage { message: Some(said) }
    }
}

/// The messages after the first: another hello is an error.
impl TryFrom<v1::NodeMessage> for ToNode {
    type Error = ConvertError;
    fn try_from(message: v1::NodeMessage) -> Result<ToNode, ConvertError> {
        let (field, converted) = match required("message", message.message)? {
            Said::Hello(_) => return Err(ConvertError::new("message", "hello only once", "another hello")),
            Said::Vote(vote) => ("vote", vote.try_into().map(ToNode::Vote)),
            Said::Decided(certificate) => ("decided", certificate.try_into().map(ToNode::Decided)),
            Said::Solicit(solicit) => ("solicit", solicit.try_into().map(ToNode::Solicit)),
            Said::Standing(standing) => ("standing", standing.try_into().map(ToNode::Standing)),
        };
        converted.map_err(|error: ConvertError| error.within(field))
    }
}

impl From<Standing> for v1::Standing {
    fn from(standing: Standing) -> v1::Standing {
        let (promised_to, promised_epoch) = standing.promised.unzip();
        let hears = |(instance, rtt_us): (InstanceName, u32)| v1::Hears { instance: instance.into(), rtt_us };
        v1::Standing {
            group: standing.group.into(),
            witness: standing.witness.0,
            floor: standing.floor.0,
            named: standing.named.map(Into::into),
            epoch: standing.epoch.0,
            primary: standing.primary.map(Into::into),
            revision: standing.revision.0,
            electorate: ids(standing.electorate),
            promised_to: promised_to.map(Into::into),
            promised_epoch: promised_epoch.unwrap_or_default().0,
            may_name: texts(standing.may_name),
            hears: standing.hears.into_iter().map(hears).collect(),
        }
    }
}

impl TryFrom<v1::Standing> for Standing {
    type Error = ConvertError;
    fn try_from(standing: v1::Standing) -> Result<Standing, ConvertError> {
        Ok(Standing {
            group: name("group", standing.group)?,
            witness: node("witness", standing.witness)?,
            floor: epoch("floor", standing.floor)?,
            named: optional_name("named", standing.named)?,
            epoch: epoch("epoch", standing.epoch)?,
            primary: optional_name("primary", standing.primary)?,
            revision: revision("revision", standing.revision)?,
            electorate: electorate("electorate", standing.electorate)?,
            promised: promised(standing.promised_to, standing.promised_epoch)?,
            may_name: names("may_name", standing.may_name)?,
            hears: hears(standing.hears)?,
        })
    }
}

fn promised(to: Option<String>, epoch: u64) -> Result<Option<(InstanceName, Epoch)>, ConvertError> {
    let Some(to) = to else { return Ok(None) };
    Ok(Some((name("promised_to", to)?, real_epoch("promised_epoch", epoch)?)))
}

fn hears(heard: Vec<v1::Hears>) -> Result<Vec<(InstanceName, u32)>, ConvertError> {
    at_most("hears", heard.len(), MAX_INSTANCES)?;
    heard.into_iter().map(|one| Ok((name("hears.instance", one.instance)?, one.rtt_us))).collect()
}
