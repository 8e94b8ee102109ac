//! Runs a configuration and says what came of it.

use crate::action::Action;
use crate::configuration::Config;
use crate::model::Explored;
use crate::play::Play;
use crate::wedge::continued;
use crate::world::{Parts, World};
use stateright::{Checker, HasDiscoveries, Model};
use std::fmt;
use std::num::NonZeroUsize;
use std::time::Duration;

/// How far to go.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// How many different states to go on from at most.
    pub states: Option<NonZeroUsize>,
    /// How many actions a history may have at most.
    pub depth: Option<NonZeroUsize>,
    /// How long to go on at most.
    pub time: Duration,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How many states were made, repeated ones counted.
    pub states: usize,
    /// How many different ones.
    pub unique_states: usize,
    /// How many states were continued fairly, to see whether they are wedges: a sample of the different ones.
    pub continued: usize,
    /// How many of these continuations, each with a region lost, end with nobody left who may be named: a person has to
    /// choose (finding F11c).
    pub forlorn: usize,
    /// The longest history looked at, in actions.
    pub depth: usize,
    /// Whether every state within the configuration's own bounds was looked at.
    pub complete: bool,
    /// The history that breaks a theorem, if one does.
    pub violation: Option<Trace>,
}

/// A history that breaks a theorem.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trace {
    /// Which theorem.
    pub theorem: &'static str,
    /// How.
    pub what: String,
    /// One line an action, and after it what followed.
    pub lines: Vec<String>,
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| writeln!(f, "{line}"))?;
        write!(f, "{} is broken: {}", self.theorem, self.what)
    }
}

/// Walks through all histories of a configuration, the short ones first, until a theorem is broken, all were seen, or the
/// budget is spent. One thread: the same configuration and budget of states or depth give the same outcome.
pub fn check(config: &Config, budget: Budget) -> Outcome {
    let model = Explored::new(config.clone(), budget);
    let mut builder = model.checker().threads(1).finish_when(HasDiscoveries::AnyFailures);
    if let Some(depth) = budget.depth {
        builder = builder.target_max_depth(depth.get() + 1);
    }
    let checker = builder.spawn_bfs().join();
    let complete = !checker.model().spent();
    checker.model().look_back();
    let violation = shortest(&checker);
    let (states, depth) = (checker.state_count(), checker.max_depth());
    let within_depth = budget.depth.is_none_or(|most| depth <= most.get());
    Outcome {
        states,
        unique_states: checker.unique_state_count(),
        continued: checker.model().continued(),
        forlorn: checker.model().forlorn(),
        // A history's depth counts its states, of which the first is no action.
        depth: depth.saturating_sub(1),
        complete: complete && violation.is_none() && within_depth,
        violation,
    }
}

fn shortest(checker: &impl Checker<Explored>) -> Option<Trace> {
    let found = checker.discoveries().into_iter().map(|(theorem, path)| (theorem, path.into_vec()));
    let (theorem, steps) = found.min_by_key(|(theorem, steps)| (steps.len(), *theorem))?;
    Some(tell(&checker.model().config, theorem, &steps))
}

/// Plays the history again and writes down what happens.
fn tell(config: &Config, theorem: &'static str, steps: &[(World, Option<Action>)]) -> Trace {
    let mut lines = Vec::new();
    for (world, action) in steps {
        let Some(action) = action else { continue };
        let mut play = Play::new(config, world.clone());
        play.told = Some(Vec::new());
        action.play(&mut play);
        let (after, told) = play.end(&Parts::default());
        let follows = if told.is_empty() { String::new() } else { format!(" → {}", told.join("; ")) };
        lines.push(format!("{:7.2} ms  {action}{follows}", after.now as f64 / 1e6));
    }
    let Some((last, _)) = steps.last() else { return Trace { theorem, what: String::new(), lines } };
    let what = match (&last.oath.breach, continued(config, last).wedge) {
        (Some(breach), _) => breach.what.clone(),
        (None, Some(wedge)) => {
            lines.extend(wedge.lines);
            wedge.what
        }
        (None, None) => String::new(),
    };
    Trace { theorem, what, lines }
}
