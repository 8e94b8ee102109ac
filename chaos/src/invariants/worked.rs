//! Enough work: a run whose clients did too little says nothing, and is not a pass.

use std::collections::BTreeMap;

use crate::history::Write;

/// Rows that clients of each region must have been acknowledged before anything is done to them.
pub const WARM: usize = 50;

/// Which clients did too little before `schedule_ns`, a sentence each.
pub fn check(writes: &[Write], regions: &[String], schedule_ns: u64) -> Vec<String> {
    let mut rows: BTreeMap<&str, usize> = regions.iter().map(|region| (region.as_str(), 0)).collect();
    let warm =
        writes.iter().filter(|write| write.receipt().is_some_and(|receipt| receipt.at_ns <= schedule_ns));
    for write in warm {
        *rows.entry(write.client).or_default() += 1;
    }
    let idle = rows.into_iter().filter(|(_, rows)| *rows < WARM);
    idle.map(|(region, rows)| {
        format!("clients of {region} wrote {rows} rows before the first fault, expected {WARM}")
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::write;
    use super::*;

    #[test]
    fn idle_clients_are_found() {
        let regions = ["us-west".to_owned()];
        let writes: Vec<Write> = (0..WARM as u64).map(|id| write(id, 0, 1, id, id + 1)).collect();
        assert_eq!(check(&writes, &regions, 1_000), [""; 0]);
        assert_eq!(check(&writes[1..], &regions, 1_000).len(), 1);
        assert_eq!(check(&writes, &regions, 10).len(), 1, "later does not count");
    }
}
