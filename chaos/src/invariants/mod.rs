//! The promises of the design, each as one check over what clients saw. One file a theorem.

pub mod accounted_rows;
pub mod lost_within;
pub mod one_writable_primary;

#[cfg(test)]
mod testing {
    use crate::history::{Outcome, Receipt, Write};

    /// A write that was acknowledged.
    pub fn write(id: u64, instance: usize, timeline: u32, invoked_ns: u64, at_ns: u64) -> Write {
        let receipt = Receipt { at_ns, timeline, lsn: id * 100, xid: id + 700 };
        let outcome = Outcome::Acknowledged(receipt);
        Write { id, client: "us-west", instance, invoked_ns, outcome }
    }
}
