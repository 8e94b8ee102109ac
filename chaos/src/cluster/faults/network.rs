//! Links between regions: cut, healed, worse than they were.

use std::net::SocketAddr;

use crate::cluster::Cluster;
use crate::cluster::ways::Ways;
use crate::wan::terms::Change;

impl Cluster {
    /// Nothing passes there when this has returned. Over relays that can be a whole region alone, and what is under way is
    /// held; on a network of its own it is lost.
    pub fn cut(&self, ways: &Ways) -> anyhow::Result<()> {
        self.ground.cut(ways)
    }

    /// Undoes every cut of these ways, whichever made it.
    pub fn heal(&self, ways: &Ways) -> anyhow::Result<()> {
        self.ground.heal(ways)
    }

    /// Other terms for packets from now on: delay, jitter, loss, rate and so on. Not over relays.
    pub fn change(&self, ways: &Ways, change: Change) -> anyhow::Result<()> {
        self.ground.change(ways, change)
    }

    /// Ends every connection that a region has with others by a reset. Not over relays.
    pub fn reset_connections(&self, region: usize) -> anyhow::Result<()> {
        self.ground.reset(region)
    }

    /// Cuts a region's agent and node off from all other nodes; Postgres' own links stay. Over relays alone: on a network of
    /// its own a link knows nothing of who sends.
    pub fn cut_nodes(&self, region: usize) -> anyhow::Result<()> {
        let relays = self.ground.relays("cutting nodes off and not Postgres")?;
        self.links_of_nodes(region).for_each(|link| relays.cut_link(link));
        Ok(())
    }

    /// Undoes that; what was under way arrives now.
    pub fn heal_nodes(&self, region: usize) -> anyhow::Result<()> {
        let relays = self.ground.relays("cutting nodes off and not Postgres")?;
        self.links_of_nodes(region).for_each(|link| relays.heal_link(link));
        Ok(())
    }

    /// Every link of the region's agent to the nodes, and of its node to the others; Postgres' own stay.
    fn links_of_nodes(&self, region: usize) -> impl Iterator<Item = SocketAddr> {
        let ends = move |from: usize, to: usize| from != to && (from == region || to == region);
        self.regions.iter().enumerate().flat_map(move |(from, one)| {
            let seen = one.seen_nodes.iter().enumerate();
            seen.filter_map(move |(to, link)| ends(from, to).then_some(*link))
        })
    }
}
