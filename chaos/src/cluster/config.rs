//! The processes' configuration files: the one place that knows their keys.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;

use super::topology::{GROUP, REGIONS, instance};

/// Everything that a region's two files say.
pub struct RegionConfig<'a> {
    /// Place in [`REGIONS`].
    pub region: usize,
    /// The region's directory.
    pub dir: &'a Path,
    /// Where what must not be forgotten is: there, or on a disk of its own.
    pub durable: &'a Path,
    /// Where lease files go.
    pub lease_dir: &'a Path,
    /// The gate library.
    pub gate: &'a Path,
    /// Directory with Postgres' programs.
    pub postgres_bin: &'a Path,
    /// Each node's address as seen from this region.
    pub nodes: Vec<SocketAddr>,
    /// Each node's own address: what its membership says, the same on all nodes.
    pub advertised: Vec<SocketAddr>,
    /// Each instance's address as seen from this region.
    pub postgres: Vec<SocketAddr>,
    /// From where Postgres may be reached.
    pub networks: &'a str,
    /// Longest round trip to expect.
    pub max_round_trip_ms: u64,
}

/// Name of the cluster: nodes of another one are refused.
pub const CLUSTER: &str = "demo";

impl RegionConfig<'_> {
    /// `regentd`'s file.
    pub fn node(&self) -> String {
        let here = self.region;
        let mut text = format!(
            "cluster = \"{CLUSTER}\"\nnode = {id}\nregion = \"{region}\"\nlisten = \"{listen}\"\n\
             data_dir = \"{durable}/node\"\naudit = \"{dir}/node.audit\"\nmax_round_trip_ms = {round_trip}\n",
            id = here + 1,
            region = REGIONS[here],
            listen = self.nodes[here],
            dir = self.dir.display(),
            durable = self.durable.display(),
            round_trip = self.max_round_trip_ms,
        );
        for (index, address) in self.nodes.iter().enumerate() {
            let (id, region, own) = (index + 1, REGIONS[index], self.advertised[index]);
            let _ = write!(
                text,
                "\n[[peers]]\nid = {id}\nregion = \"{region}\"\naddress = \"{address}\"\nadvertise = \"{own}\"\n"
            );
        }
        text
    }

    /// `regent-agent`'s file.
    pub fn agent(&self) -> String {
        let here = self.region;
        let mut text = format!(
            "cluster = \"{CLUSTER}\"\ngroup = \"{GROUP}\"\ninstance = \"{instance}\"\nregion = \"{region}\"\n\
             state_dir = \"{durable}/agent\"\naudit = \"{dir}/agent.audit\"\n",
            instance = instance(here),
            region = REGIONS[here],
            dir = self.dir.display(),
            durable = self.durable.display(),
        );
        for (index, address) in self.nodes.iter().enumerate() {
            let _ = write!(text, "\n[[nodes]]\nid = {}\naddress = \"{address}\"\n", index + 1);
        }
        let own = self.postgres[here];
        let _ = write!(
            text,
            "\n[postgres]\nbin_dir = \"{bin}\"\ndata_dir = \"{durable}/postgres\"\nlisten_address = \"{ip}\"\n\
             port = {port}\nsocket_dir = \"{dir}\"\ngate_library = \"{gate}\"\nrun_dir = \"{lease}\"\n\
             log_file = \"{dir}/postgres.log\"\nadvertise = \"{own}\"\n\
             networks = [\"{networks}\"]\nreplication_password = \"demo\"\n\n\
             [postgres.parameters]\ndynamic_shared_memory_type = \"mmap\"\n\n[routes]\n",
            bin = self.postgres_bin.display(),
            dir = self.dir.display(),
            durable = self.durable.display(),
            ip = own.ip(),
            port = own.port(),
            gate = self.gate.display(),
            lease = self.lease_dir.display(),
            networks = self.networks,
        );
        for (index, address) in self.postgres.iter().enumerate().filter(|(index, _)| *index != here) {
            let _ = writeln!(text, "\"{}\" = \"{address}\"", instance(index));
        }
        text
    }
}
