//! What is printed, and what is written as JSON.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Plan;
use super::fault::Fault;
use super::figures::{Spread, Trial};
use crate::cluster::Cluster;
use crate::cluster::topology::{GROUP, REGIONS, instance};
use crate::terminal::{bold, dim, verdict};
use crate::timeline;
use crate::workload::Account;

/// The first line.
pub fn title(plan: &Plan) {
    let trials = plan.trials * plan.faults.len();
    let trials = if trials > 1 { format!(", {trials} trials") } else { String::new() };
    println!("{}{}", bold("Regent: lose a region, write again within a second"), dim(trials));
}

/// Everything about one trial.
pub fn trial(trial: &Trial) {
    println!("\n{} {}", bold(format!("Trial {}: {}", trial.number, trial.fault.words())), dim(trial.region));
    timeline::print(&trial.timeline);
    println!();
    let gap = format!(
        "{:.0} ms without an acknowledgement, limit {}",
        trial.gap_ms,
        trial.fault.limit().as_millis()
    );
    line(trial.in_time(), "write gap", &gap);
    let clients = trial.clients.iter().map(|client| format!("{} {:.0} ms", client.region, client.gap_ms));
    println!("  {:<6} {:<22} {}", "", dim("of the clients in"), dim(clients.collect::<Vec<_>>().join(", ")));
    let [before, after] = trial.epochs;
    let moved = match trial.new_primary {
        Some(region) => format!("moved to {region}, epoch {before} to {after}"),
        None => format!("stayed, epoch {before}"),
    };
    line(trial.moved_as_it_should(), "primary", &moved);
    s1(trial);
    rows(trial);
    loss(trial);
    println!(
        "  {:<6} {:<22} {:.1} s, {} writes refused",
        "",
        "back and streaming",
        trial.rejoin_ms / 1e3,
        trial.refused
    );
    lateness(trial);
}

fn line(good: bool, what: &str, words: &str) {
    println!("  {:<6} {what:<22} {words}", verdict(good, if good { "ok    " } else { "FAILED" }));
}

fn s1(trial: &Trial) {
    let report = &trial.one_writable_primary;
    let words = match report.holds() {
        true => format!(
            "none of {} acknowledgements came from an old primary after the new one's",
            report.acknowledged
        ),
        false => format!("acknowledged by two at once: rows {:?} {:?}", report.late, report.shared),
    };
    line(report.holds(), "one writable primary", &words);
}

fn rows(trial: &Trial) {
    let report = &trial.accounted_rows;
    let mut words = format!(
        "{} acknowledged = {} present + {} lost with the region, found in its log",
        report.acknowledged,
        report.present,
        report.lost.len()
    );
    if !report.holds() {
        words += &format!(
            "; UNACCOUNTED {:?}, from nowhere {:?}, reappeared {:?}",
            report.unaccounted, report.from_nowhere, report.reappeared
        );
    }
    line(report.holds(), "every row accounted for", &words);
}

fn loss(trial: &Trial) {
    let report = &trial.lost_within;
    let Some(bound) = report.bound_ms else { return };
    let words = match report.lost {
        0 => "nothing acknowledged was lost".to_owned(),
        lost => format!(
            "{lost} rows lost, the oldest acknowledged {:.1} ms before the last ({:.1} at least), allowed {bound:.0} ms",
            report.oldest_ms, report.surely_ms
        ),
    };
    line(report.holds(), "lost within the bound", &words);
}

fn lateness(trial: &Trial) {
    let late = &trial.lateness;
    let words =
        format!("late by {:.2} ms at p99.9 ({} chunks, worst {:.1})", late.p999_ms, late.chunks, late.max_ms);
    if late.valid() {
        println!("  {:<6} {:<22} {}", "", dim("emulated links"), dim(words));
    } else {
        let note = "over 2 ms: this machine was too busy, the figures are not valid (too long, if anything)";
        println!("  {:<6} {:<22} {words}; {note}", "note", "emulated links");
    }
}

/// One line a fault.
pub fn table(trials: &[Trial]) {
    println!(
        "\n{}",
        bold(format!(
            "{:<44}{:>7}{:>9}{:>9}{:>7}{:>7}{:>7}",
            "write gap, ms", "trials", "median", "worst", "limit", "good", "valid"
        ))
    );
    for fault in Fault::ALL {
        let of_fault: Vec<&Trial> = trials.iter().filter(|trial| trial.fault == fault).collect();
        if of_fault.is_empty() {
            continue;
        }
        let gap = Spread::of(of_fault.iter().map(|trial| trial.gap_ms));
        let good = of_fault.iter().filter(|trial| trial.good()).count();
        let valid = of_fault.iter().filter(|trial| trial.lateness.valid()).count();
        let figures = format!(
            "{:<44}{:>7}{:>9.0}{:>9.0}{:>7}{good:>7}{valid:>7}",
            fault.words(),
            of_fault.len(),
            gap.median,
            gap.worst,
            fault.limit().as_millis(),
        );
        println!("{}", verdict(good == of_fault.len(), figures));
    }
}

/// Of all that was ever acknowledged, what was lost; and where the heirs were.
pub fn rows_of_all(trials: &[Trial]) {
    let Some(last) = trials.last() else { return };
    let report = &last.accounted_rows;
    let (acknowledged, lost) = (report.acknowledged, report.lost.len() + report.unaccounted.len());
    let at_home = trials.iter().filter(|trial| trial.heir == trial.region).count();
    let heirs = heirs(trials).into_iter().map(|(region, times)| format!("{region} {times}"));
    println!(
        "{acknowledged} rows acknowledged, {lost} lost; the heir was in {}, in the primary's own region {at_home}",
        heirs.collect::<Vec<_>>().join(", ")
    );
}

/// How often the heir was in each region.
fn heirs(trials: &[Trial]) -> BTreeMap<&'static str, usize> {
    let mut heirs = BTreeMap::new();
    trials.iter().for_each(|trial| *heirs.entry(trial.heir).or_default() += 1);
    heirs
}

/// The JSON file.
pub fn figures(plan: &Plan, trials: &[Trial]) -> Value {
    let of_fault = |fault: &Fault| {
        let gaps = || trials.iter().filter(|trial| trial.fault == *fault).map(|trial| trial.gap_ms);
        json!({ "fault": fault, "trials": gaps().count(), "gap_ms": Spread::of(gaps()), "limit_ms": fault.limit().as_millis() as u64 })
    };
    json!({
        "mode": plan.mode.to_string(),
        "round_trips_ms": plan.round_trips.ms(),
        "good": trials.iter().all(Trial::good),
        "valid": trials.iter().all(|trial| trial.lateness.valid()),
        "acknowledged": trials.last().map(|trial| trial.accounted_rows.acknowledged),
        "lost": trials.last().map(|trial| trial.accounted_rows.lost.len() + trial.accounted_rows.unaccounted.len()),
        "heirs": heirs(trials),
        "faults": plan.faults.iter().map(of_fault).collect::<Vec<_>>(),
        "trials": trials,
    })
}

/// Addresses and commands, when the regions stay up.
pub fn how_to_try(cluster: &Cluster, account: &Account) {
    println!("\n{}", bold("The regions stay up until Ctrl-C. To try:"));
    let regent = cluster.run_dir().program("regent").display().to_string();
    let nodes: Vec<String> = (0..cluster.regions()).map(|region| cluster.node(region).to_string()).collect();
    println!("  export REGENT_ENDPOINTS={}", nodes.join(","));
    for command in
        ["status".into(), format!("watch {GROUP}"), format!("switchover {GROUP}"), format!("history {GROUP}")]
    {
        println!("  {regent} {command}");
    }
    let Account { user, password, database } = account;
    let hosts =
        (0..cluster.instances()).map(|region| cluster.postgres(region).to_string()).collect::<Vec<_>>().join(",");
    println!("  psql 'postgresql://{user}:{password}@{hosts}/{database}?target_session_attrs=read-write'");
    for region in 0..cluster.instances() {
        let dir = cluster.run_dir().region(region);
        println!(
            "  {}",
            dim(format!(
                "{:<18} {:<22} files in {}",
                instance(region),
                cluster.postgres(region),
                dir.display()
            ))
        );
    }
}
