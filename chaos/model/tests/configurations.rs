//! Every configuration a little way in, and what a broken theorem looks like.

use regent_model::{Budget, Clock, Config, Outcome, check, configurations};
use std::num::NonZeroUsize;
use std::time::Duration;

fn some_states(config: &Config, states: usize) -> Outcome {
    check(config, Budget { states: NonZeroUsize::new(states), depth: None, time: Duration::from_secs(600) })
}

fn named(name: &str) -> Config {
    configurations().into_iter().find(|config| config.name == name).expect("a configuration of that name")
}

#[test]
fn every_configuration_holds_a_little_way_in() {
    for config in configurations() {
        let outcome = some_states(&config, 6_000);
        let trace = outcome.violation.as_ref().map(ToString::to_string).unwrap_or_default();
        assert!(trace.is_empty(), "{}:\n{trace}", config.name);
        assert!(outcome.complete || outcome.unique_states > 5_000, "{}: {outcome:?}", config.name);
    }
}

#[test]
fn a_small_configuration_is_walked_through_to_the_end() {
    let config = Config { ticks: 1, ..named("drift") };
    let outcome = some_states(&config, 1_000_000);
    assert!(outcome.complete && outcome.violation.is_none(), "{outcome:?}");
}

#[test]
fn the_same_bounds_give_the_same_outcome() {
    let [one, other] = [(); 2].map(|()| some_states(&named("releases"), 5_000));
    assert_eq!(format!("{one:?}"), format!("{other:?}"));
}

/// A clock worse than what the lease allows for: it must be seen, and the history be told.
#[test]
fn a_clock_beyond_the_bound_breaks_a_theorem() {
    let mut config = named("drift");
    config.clocks = vec![[0, 0, 0, 0, -20_000, 0].map(|ppm| Clock { ppm }).to_vec()];
    let trace = some_states(&config, 1_000_000).violation.expect("a violation");
    assert_eq!(trace.theorem, "S3", "{trace}");
    assert!(trace.what.starts_with("B opens 2 for longer than a majority promised"), "{trace}");
    assert!(trace.lines.iter().any(|line| line.contains("a tick passes")), "{trace}");
    assert!(trace.lines.iter().any(|line| line.contains("votes for B in 2")), "{trace}");
}
