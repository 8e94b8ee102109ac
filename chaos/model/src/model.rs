//! The world as `stateright` explores it.

use crate::action::Action;
use crate::birth::beginnings;
use crate::check::Budget;
use crate::configuration::Config;
use crate::kept::hash_of;
use crate::oath::Theorem;
use crate::play::Play;
use crate::wedge::continued;
use crate::world::{Parts, World};
use regent_core::ids::Epoch;
use stateright::{Model, Property};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

/// One configuration, explored.
pub struct Explored {
    pub config: Config,
    budget: Budget,
    began: Instant,
    parts: Parts,
    /// How many states were gone on from.
    expanded: AtomicUsize,
    /// How many states were continued fairly.
    continued: AtomicUsize,
    /// How many of those ways need a person.
    forlorn: AtomicUsize,
    /// A history that was found is played again: no budget counts.
    looking_back: AtomicBool,
    /// No state is gone on from any more. (The checker's own limit of time is not kept by a single thread.)
    spent: AtomicBool,
}

impl Explored {
    /// Nothing is explored yet.
    pub fn new(config: Config, budget: Budget) -> Explored {
        Explored {
            config,
            budget,
            began: Instant::now(),
            parts: Parts::default(),
            expanded: AtomicUsize::new(0),
            continued: AtomicUsize::new(0),
            forlorn: AtomicUsize::new(0),
            looking_back: AtomicBool::new(false),
            spent: AtomicBool::new(false),
        }
    }

    /// Whether states were left out because the budget was spent.
    pub fn spent(&self) -> bool {
        self.spent.load(Ordering::Relaxed)
    }

    /// How many states were continued fairly.
    pub fn continued(&self) -> usize {
        self.continued.load(Ordering::Relaxed)
    }

    /// How many ways of continuing them need a person.
    pub fn forlorn(&self) -> usize {
        self.forlorn.load(Ordering::Relaxed)
    }

    /// The exploration is over; what follows plays found histories again.
    pub fn look_back(&self) {
        self.looking_back.store(true, Ordering::Relaxed);
    }

    fn may_go_on(&self) -> bool {
        if self.looking_back.load(Ordering::Relaxed) {
            return true;
        }
        let expanded = self.expanded.fetch_add(1, Ordering::Relaxed);
        let late = expanded.is_multiple_of(64) && self.began.elapsed() >= self.budget.time;
        if late || self.budget.states.is_some_and(|most| expanded >= most.get()) {
            self.spent.store(true, Ordering::Relaxed);
        }
        !self.spent()
    }

    fn holds(&self, world: &World, theorem: Theorem) -> bool {
        world.oath.breach.as_ref().is_none_or(|breach| breach.theorem != theorem)
    }

    fn is_no_wedge(&self, world: &World) -> bool {
        let sample = self.config.wedge_sample;
        if self.spent() || sample == 0 || !hash_of(world).is_multiple_of(sample) {
            return true;
        }
        self.continued.fetch_add(1, Ordering::Relaxed);
        let continued = continued(&self.config, world);
        self.forlorn.fetch_add(continued.forlorn, Ordering::Relaxed);
        continued.wedge.is_none()
    }
}

impl Model for Explored {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        beginnings(&self.config, &self.parts)
    }

    fn actions(&self, world: &World, moves: &mut Vec<Action>) {
        if self.may_go_on() {
            Action::all(&self.config, world, moves);
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut play = Play::new(&self.config, world.clone());
        action.play(&mut play);
        Some(play.end(&self.parts).0)
    }

    fn properties(&self) -> Vec<Property<Explored>> {
        vec![
            Property::always("S1", |model: &Explored, world: &World| {
                model.holds(world, Theorem::OneWritablePrimary)
            }),
            Property::always("S2", |model: &Explored, world: &World| {
                model.holds(world, Theorem::OneOwnerAnEpoch)
            }),
            Property::always("S3", |model: &Explored, world: &World| {
                model.holds(world, Theorem::PromotedByVotes)
            }),
            Property::always("S4", |model: &Explored, world: &World| model.holds(world, Theorem::Succession)),
            Property::always("no wedge", |model: &Explored, world: &World| model.is_no_wedge(world)),
        ]
    }

    /// What lies beyond is not gone on from; a theorem broken by the step that leads there is judged all the same.
    fn within_boundary(&self, world: &World) -> bool {
        world.oath.breach.is_some() || world.oath.highest() <= Epoch(self.config.epochs)
    }
}
