//! The regions there can be, what is in each, and how far apart they are.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use regent_core::agent::REPORT_INTERVAL;
use regent_core::command::Terms;
use regent_core::quorum::majority;
use regent_core::time::{held, to_hold};

/// Regions in the order of their nodes' ids; a cluster has the first so many of them. The first is home: where the primary
/// and the Raft leader are before a region is lost.
pub const REGIONS: [&str; 5] = ["us-east", "us-west", "eu-west", "eu-north", "ap-south"];
/// The one group of the demo.
pub const GROUP: &str = "orders";
/// How many regions a cluster can have: with fewer the loss of one would be the end.
const NUMBER: RangeInclusive<usize> = 3..=REGIONS.len();
const PAIRS: usize = REGIONS.len() * (REGIONS.len() - 1) / 2;

/// How many regions there are, and the round trip between each pair of them.
#[derive(Clone, Copy, Debug)]
pub struct RoundTrips {
    regions: usize,
    /// (0,1), (0,2), .., (1,2), ..: of the first so many regions; what follows is not used.
    pairs: [Duration; PAIRS],
}

impl RoundTrips {
    /// Three regions without distances. Over relays that is: no links, everybody reaches everybody directly, and nobody can
    /// be cut off.
    pub const NONE: RoundTrips = RoundTrips { regions: 3, pairs: [Duration::ZERO; PAIRS] };

    /// So many regions, all as far from each other.
    pub fn even(regions: usize, round_trip: Duration) -> anyhow::Result<RoundTrips> {
        ensure!(NUMBER.contains(&regions), "{regions} regions: expected {NUMBER:?}");
        Ok(RoundTrips { regions, pairs: [round_trip; PAIRS] })
    }

    /// By pair: first to second region, first to third, and so on, then second to third.
    pub fn of(regions: usize, round_trips: &[Duration]) -> anyhow::Result<RoundTrips> {
        let mut all = RoundTrips::even(regions, Duration::ZERO)?;
        let (wanted, got) = (regions * (regions - 1) / 2, round_trips.len());
        ensure!(
            got == wanted,
            "{got} round trips: expected {wanted}, one for each pair of {regions} regions"
        );
        all.pairs[..wanted].copy_from_slice(round_trips);
        Ok(all)
    }

    /// From `a,b,c` in milliseconds: first to second region, first to third, second to third.
    pub fn parse(text: &str) -> anyhow::Result<RoundTrips> {
        let parts: Result<Vec<f64>, _> = text.split(',').map(|part| part.trim().parse()).collect();
        let parts = parts.with_context(|| format!("round trips `{text}`: milliseconds are wanted"))?;
        let Ok(three) = <[f64; 3]>::try_from(parts) else {
            bail!("round trips `{text}`: three are wanted, as in 60,80,140");
        };
        let links = 0.1..=1000.0;
        ensure!(
            three.iter().all(|ms| links.contains(ms)),
            "round trips `{text}`: a link takes 0.1 to 1000 ms"
        );
        RoundTrips::of(3, &three.map(|ms| Duration::from_secs_f64(ms / 1e3)))
    }

    /// The ttl that a primary at home needs, where the usual one would leave its lease with breaks (`regent_core::forecast`): the
    /// nearest regions that make a majority with its own answer in time, also when one answer is lost.
    pub fn ttl(&self) -> Option<Duration> {
        let mut others: Vec<Duration> = (1..self.regions).map(|other| self.between(0, other)).collect();
        others.sort_unstable();
        let next = others[majority(self.regions) - 2] + REPORT_INTERVAL;
        (next >= held(Terms::default().ttl)).then(|| to_hold(next + REPORT_INTERVAL))
    }

    /// How many regions there are.
    pub fn regions(&self) -> usize {
        self.regions
    }

    /// In milliseconds, by pair.
    pub fn ms(&self) -> Vec<f64> {
        let pairs = self.regions * (self.regions - 1) / 2;
        self.pairs[..pairs].iter().map(|round_trip| round_trip.as_micros() as f64 / 1e3).collect()
    }

    /// As a person writes it: 60/80/140.
    pub fn words(&self) -> String {
        self.ms().iter().map(f64::to_string).collect::<Vec<_>>().join("/")
    }

    /// Between two different regions.
    pub fn between(&self, a: usize, b: usize) -> Duration {
        let (low, high) = (a.min(b), a.max(b));
        // Before those of `low` stand those of all lower ones, each one fewer than the one before.
        let before = low * (2 * self.regions - low - 1) / 2;
        self.pairs[before + high - low - 1]
    }

    /// The longest of all: what the nodes' timers must allow for, in whole milliseconds.
    pub fn longest_ms(&self) -> u64 {
        self.ms().into_iter().fold(0.0, f64::max).ceil() as u64
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
        assert_eq!(trips.words(), "60/80/140");
    }

    #[test]
    fn each_pair_of_five_regions_has_its_own() {
        let pairs: Vec<Duration> = (1..=10).map(|tenths| Duration::from_micros(tenths * 100)).collect();
        let trips = RoundTrips::of(5, &pairs).unwrap();
        let all = (0..5).flat_map(|a| (a + 1..5).map(move |b| (a, b)));
        let between: Vec<Duration> = all.clone().map(|(a, b)| trips.between(a, b)).collect();
        assert_eq!(between, pairs);
        assert!(all.clone().all(|(a, b)| trips.between(a, b) == trips.between(b, a)));
        assert_eq!(trips.longest_ms(), 1);
        assert!(RoundTrips::of(5, &pairs[1..]).is_err());
        assert!(RoundTrips::even(2, Duration::ZERO).is_err());
    }

    #[test]
    fn wrong_round_trips_say_what_is_wanted() {
        for wrong in ["60,80", "60,80,0", "60,80,140,1", "a,b,c", "60,80,-1", "1,2,5000"] {
            let error = RoundTrips::parse(wrong).unwrap_err().to_string();
            assert!(error.contains(wrong), "{error}");
        }
    }

    #[test]
    fn regions_that_are_far_apart_need_a_longer_ttl() {
        let ttl_ms = |text| RoundTrips::parse(text).unwrap().ttl().map(|ttl| ttl.as_millis());
        assert_eq!(["0.3,0.3,0.3", "150,150,150", "60,250,250"].map(ttl_ms), [None, None, None]);
        assert_eq!(ttl_ms("250,250,250"), Some(354));
    }

    #[test]
    fn an_instance_tells_its_region() {
        assert_eq!(region_of(&instance(2)).unwrap(), 2);
        assert!(region_of("orders-mars").is_err());
    }
}
