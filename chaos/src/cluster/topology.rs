//! The three regions of the demo, what is in each, and how far apart they are.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::{Context, bail, ensure};

/// Regions in the order of their nodes' ids. The first is home: where the primary and the Raft leader are before
/// a region is lost.
pub const REGIONS: [&str; 3] = ["us-east", "us-west", "eu-west"];
/// The one group of the demo.
pub const GROUP: &str = "orders";

/// Round trips between each pair of regions.
#[derive(Clone, Copy, Debug)]
pub struct RoundTrips([u64; 3]);

impl RoundTrips {
    /// No distances and no links: everybody reaches everybody directly. Such regions cannot be cut off.
    pub const NONE: RoundTrips = RoundTrips([0; 3]);

    /// From `a,b,c` in milliseconds: first to second region, first to third, second to third.
    pub fn parse(text: &str) -> anyhow::Result<RoundTrips> {
        let parts: Result<Vec<u64>, _> = text.split(',').map(|part| part.trim().parse()).collect();
        let parts = parts.with_context(|| format!("round trips `{text}`: whole milliseconds are wanted"))?;
        let Ok(three) = <[u64; 3]>::try_from(parts) else {
            bail!("round trips `{text}`: three are wanted, as in 60,80,140");
        };
        let links = 1..=1000;
        ensure!(three.iter().all(|ms| links.contains(ms)), "round trips `{text}`: a link takes 1 to 1000 ms");
        Ok(RoundTrips(three))
    }

    /// As given, in milliseconds.
    pub fn ms(&self) -> [u64; 3] {
        self.0
    }

    /// Between two different regions.
    pub fn between(&self, a: usize, b: usize) -> Duration {
        // The pairs (0,1), (0,2), (1,2) in this order are told apart by their sum.
        Duration::from_millis(self.0[a + b - 1])
    }

    /// The longest of the three: what the nodes' timers must allow for.
    pub fn longest_ms(&self) -> u64 {
        self.0.into_iter().max().unwrap_or(0)
    }
}

/// Loopback address on which everything in a region listens.
pub fn address(region: usize) -> IpAddr {
    Ipv4Addr::new(127, 0, region as u8 + 1, 1).into()
}

/// Name of the Postgres instance in a region.
pub fn instance(region: usize) -> String {
    format!("{GROUP}-{}", REGIONS[region])
}

/// Place of a region in [`REGIONS`].
pub fn index(region: &str) -> anyhow::Result<usize> {
    REGIONS
        .iter()
        .position(|name| *name == region)
        .with_context(|| format!("no region {region}: there are {}", REGIONS.join(", ")))
}

/// Place of the region that an instance is in.
pub fn region_of(instance: &str) -> anyhow::Result<usize> {
    index(instance.strip_prefix(GROUP).and_then(|rest| rest.strip_prefix('-')).unwrap_or(instance))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_are_by_pair_and_symmetric() {
        let trips = RoundTrips::parse("60, 80,140").unwrap();
        let ms = |a, b| trips.between(a, b).as_millis();
        assert_eq!((ms(0, 1), ms(2, 0), ms(2, 1)), (60, 80, 140));
        assert_eq!(trips.longest_ms(), 140);
    }

    #[test]
    fn wrong_round_trips_say_what_is_wanted() {
        for wrong in ["60,80", "60,80,0", "60,80,140,1", "a,b,c", "60,80,-1", "1,2,5000"] {
            let error = RoundTrips::parse(wrong).unwrap_err().to_string();
            assert!(error.contains(wrong), "{error}");
        }
    }

    #[test]
    fn an_instance_tells_its_region() {
        assert_eq!(region_of(&instance(2)).unwrap(), 2);
        assert!(region_of("orders-mars").is_err());
    }
}
