//! A region's clocks: another wall clock than everybody's. (Clocks that stand still: [`crate::shim::Shim`].)

use crate::cluster::Cluster;

impl Cluster {
    /// The wall clock of everything in a region is so many milliseconds ahead of the true one, or behind it; all at once, and
    /// also for what is started later. Its other clocks go on as they are. The cluster must have been started under the shim.
    pub fn set_wall_clock(&self, region: usize, ahead_ms: i64) -> anyhow::Result<()> {
        self.shim(region)?.shift_wall_clock(ahead_ms)
    }
}
