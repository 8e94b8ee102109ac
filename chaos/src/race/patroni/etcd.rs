//! The three members of etcd.

use anyhow::Context;
use serde::Deserialize;

use super::text;
use crate::cluster::topology::REGIONS;
use crate::race::site::{NUMBER, Site};

const CLIENTS: u16 = 2379;
const MEMBERS: u16 = 2380;
/// By etcd's tuning guide for a round trip of 140 ms: about the longest round trip, and ten times as much. The defaults, 100 and
/// 1,000 ms, are made for one data centre.
const HEARTBEAT_MS: &str = "150";
const ELECTION_MS: &str = "1500";

/// Starts a region's member; what it knew before is on its disk.
pub fn start(site: &mut Site, region: usize) -> anyhow::Result<()> {
    let program = site.peers.etcd();
    let (clients, members) = (url(site, region, CLIENTS), url(site, region, MEMBERS));
    let all: Vec<String> =
        (0..NUMBER).map(|of| format!("{}={}", REGIONS[of], url(site, of, MEMBERS))).collect();
    let args = [
        ("--name", REGIONS[region].to_owned()),
        ("--data-dir", text(&site.dir(region).join("etcd/data"))),
        ("--listen-client-urls", clients.clone()),
        ("--advertise-client-urls", clients),
        ("--listen-peer-urls", members.clone()),
        ("--initial-advertise-peer-urls", members),
        ("--initial-cluster", all.join(",")),
        ("--heartbeat-interval", HEARTBEAT_MS.to_owned()),
        ("--election-timeout", ELECTION_MS.to_owned()),
        ("--logger", "zap".to_owned()),
    ];
    let args: Vec<&str> = args.iter().flat_map(|(name, value)| [*name, value.as_str()]).collect();
    site.start(region, "etcd", &program, &args)
}

/// Where clients of etcd turn to: first to the member in their own region.
pub fn hosts(site: &Site, region: usize) -> Vec<String> {
    let order = (0..NUMBER).map(|step| (region + step) % NUMBER);
    order.map(|of| format!("{}:{CLIENTS}", site.address(of))).collect()
}

/// The region of the leader, if all members answer.
pub fn leader(site: &Site) -> anyhow::Result<Option<usize>> {
    Ok(statuses(site)?.iter().position(Status::leads))
}

/// Moves the leadership, which only the leader does.
pub fn move_leader(site: &Site, from: usize, to: usize) -> anyhow::Result<()> {
    let to = statuses(site)?.get(to).map(|status| format!("{:x}", status.header.member_id));
    let to = to.context("a region has a member")?;
    let endpoint = url(site, from, CLIENTS);
    site.ask(&site.peers.etcdctl(), &["--endpoints", &endpoint, "move-leader", &to]).map(drop)
}

/// In the order of the regions.
fn statuses(site: &Site) -> anyhow::Result<Vec<Status>> {
    let all: Vec<String> = (0..NUMBER).map(|of| url(site, of, CLIENTS)).collect();
    let args = ["--endpoints", &all.join(","), "endpoint", "status", "--write-out", "json"];
    parse(&site.ask(&site.peers.etcdctl(), &args)?, &all)
}

fn parse(said: &str, order: &[String]) -> anyhow::Result<Vec<Status>> {
    let found: Vec<Endpoint> = serde_json::from_str(said).with_context(|| format!("etcdctl says {said}"))?;
    let of = |url: &String| {
        let one = found.iter().find(|one| one.endpoint == *url);
        Ok(one.with_context(|| format!("etcd at {url} does not answer"))?.status.clone())
    };
    order.iter().map(of).collect()
}

fn url(site: &Site, region: usize, port: u16) -> String {
    format!("http://{}:{port}", site.address(region))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Endpoint {
    endpoint: String,
    status: Status,
}

#[derive(Clone, Deserialize)]
struct Status {
    header: Header,
    #[serde(default)]
    leader: u64,
}

#[derive(Clone, Deserialize)]
struct Header {
    member_id: u64,
}

impl Status {
    fn leads(&self) -> bool {
        self.leader == self.header.member_id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_leader_is_the_member_that_names_itself() {
        let one = |url: &str, id: u64, leader: u64| {
            format!(r#"{{"Endpoint":"{url}","Status":{{"header":{{"member_id":{id}}},"leader":{leader}}}}}"#)
        };
        let order = ["http://a".to_owned(), "http://b".to_owned()];
        let said = format!(
            "[{},{}]",
            one("http://b", 18446744073709551615, 18446744073709551615),
            one("http://a", 7, 18446744073709551615)
        );
        let found = parse(&said, &order).unwrap();
        assert_eq!(found.iter().map(Status::leads).collect::<Vec<_>>(), [false, true]);
        assert!(parse(&format!("[{}]", one("http://a", 7, 7)), &order).is_err(), "one is missing");
    }
}
