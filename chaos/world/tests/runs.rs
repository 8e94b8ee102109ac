//! Seeds of every profile: sound, the same twice, and shrunk to what matters.

use regent_world::{Planned, Profile, faults_of, replay, run, shrink_by, trace};

fn profile(name: &str) -> Profile {
    Profile::named(name).expect("a profile of that name")
}

fn sound(name: &str, seeds: std::ops::Range<u64>) {
    let failed: Vec<String> = seeds
        .flat_map(|seed| run(seed, &profile(name)).violations.into_iter().map(move |v| (seed, v)))
        .map(|(seed, violation)| format!("seed {seed}: {violation}"))
        .collect();
    assert!(failed.is_empty(), "{name}:\n{}", failed.join("\n"));
}

#[test]
fn small_worlds_with_all_faults_are_sound() {
    sound("small", 0..200);
}

#[test]
fn large_worlds_with_all_faults_are_sound() {
    sound("swarm", 0..60);
}

#[test]
fn failovers_are_sound() {
    sound("failover", 0..5);
}

#[test]
fn in_sync_nothing_acknowledged_is_lost() {
    sound("sync", 0..150);
    sound("sync-failover", 0..5);
}

#[test]
fn standbys_that_receive_through_others_are_sound() {
    sound("cascades", 0..150);
    sound("sync-cascades", 0..150);
}

#[test]
fn in_bounded_nothing_is_lost_that_is_older_than_the_bound() {
    sound("bounded", 0..150);
    sound("bounded-failover", 0..5);
}

#[test]
fn losing_the_leader_costs_nothing() {
    sound("leaderless", 0..20);
}

#[test]
fn what_does_not_concern_the_primary_changes_nothing() {
    sound("calm", 0..20);
}

#[test]
fn groups_do_not_touch_each_other() {
    sound("isolation", 0..20);
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    for profile in Profile::ALL {
        let (first, second) = (trace(7, &profile), trace(7, &profile));
        assert!(first.trace.as_ref().is_some_and(|lines| lines.len() > 20), "{profile} tells too little");
        assert_eq!(first, second, "{profile}");
    }
}

#[test]
fn writing_it_down_changes_nothing() {
    let profile = profile("small");
    for seed in 0..5 {
        let (quiet, told) = (run(seed, &profile), trace(seed, &profile));
        assert_eq!((quiet.events, quiet.violations), (told.events, told.violations), "seed {seed}");
    }
}

#[test]
fn runs_do_something() {
    for profile in Profile::ALL {
        let runs: Vec<_> = (0..6).map(|seed| run(seed, &profile)).collect();
        assert!(
            runs.iter().all(|run| run.acknowledged > 100 && run.reads > 20),
            "{profile} writes or reads too little"
        );
        let failovers: u64 = runs.iter().map(|run| run.failovers).sum();
        assert_eq!(failovers > 0, profile.name != "calm", "{profile}: {failovers} failovers");
    }
}

#[test]
fn a_schedule_without_faults_is_calm() {
    let run = replay(3, &profile("small"), &[], false);
    assert_eq!((run.violations, run.failovers, run.lost), (Vec::new(), 0, 0));
}

#[test]
fn shrinking_leaves_what_the_failure_needs() {
    // As if a change of primary were forbidden; in this profile every region comes back, which alone causes none.
    let profile = profile("isolation");
    let seed = (0..).find(|seed| run(*seed, &profile).failovers > 0).expect("one of them fails over");
    let all = faults_of(seed, &profile);
    let few: Vec<Planned> = shrink_by(all.clone(), |part| replay(seed, &profile, part, false).failovers > 0);
    assert!(!few.is_empty() && few.len() <= 3 && few.len() < all.len(), "{few:?}");
    assert!(few.iter().all(|planned| all.contains(planned)));
    for left_out in 0..few.len() {
        let mut fewer = few.clone();
        fewer.remove(left_out);
        assert_eq!(replay(seed, &profile, &fewer, false).failovers, 0, "{few:?} without {left_out}");
    }
}
