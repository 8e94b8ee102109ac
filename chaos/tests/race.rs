//! The race with nobody but Regent in it, which needs no peer: its own path from the start to the table. Needs root, and says so
//! when it is not.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::process::Command;
use std::time::Duration;

use regent_chaos::cluster::land::Land;
use regent_chaos::cluster::topology::RoundTrips;

#[test]
fn regent_runs_alone() {
    let land = Land::start(RoundTrips::even(3, Duration::from_millis(1)).unwrap(), 1);
    match land {
        Ok(land) => drop(land),
        Err(why) if why.is_not_allowed() => return eprintln!("skipped: {}: {why}", module_path!()),
        Err(other) => panic!("{:#}", anyhow::Error::from(other)),
    }
    let results = tempfile::NamedTempFile::new().unwrap();
    std::fs::remove_file(results.path()).unwrap();
    let mut race = Command::new(env!("CARGO_BIN_EXE_regent-chaos"));
    race.args(["race", "--only", "regent", "--fault", "cut,switchover", "--rtt", "1,1,1", "--json"])
        .arg(results.path());
    let ended = race.output().unwrap();
    let said = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success(), "{said}{}", String::from_utf8_lossy(&ended.stderr));
    let rows: Vec<&str> = said.lines().filter(|line| line.starts_with("| ")).collect();
    assert!(!rows.is_empty(), "{said}");
    // In each table a head and the two faults.
    for table in rows.chunks(3) {
        let [head, cut, switchover] = table else { panic!("{said}") };
        assert!(
            head.contains("Regent") && cut.contains("region cut off") && switchover.contains("switchover"),
            "{said}"
        );
    }
    let written = std::fs::read_to_string(results.path()).unwrap();
    let written: serde_json::Value = serde_json::from_str(&written).unwrap();
    let trials = written["trials"].as_array().unwrap();
    assert_eq!(trials.len(), 2, "{written}");
    for trial in trials {
        assert_eq!((&trial["by_two"], &trial["shared"]), (&0.into(), &0.into()), "{trial}");
        assert_ne!(trial["new_primary"], "us-east", "{trial}");
    }
}
