//! The world as `stateright` explores it.

use crate::action::Action;
use crate::birth::beginnings;
use crate::configuration::Config;
use crate::kept::hash_of;
use crate::oath::Theorem;
use crate::play::Play;
use crate::wedge::wedged;
use crate::world::World;
use regent_core::ids::Epoch;
use stateright::{Model, Property};
use std::sync::atomic::{AtomicUsize, Ordering};

/// One configuration, explored.
pub struct Explored {
    pub config: Config,
    /// How many states were continued fairly.
    pub continued: AtomicUsize,
}

impl Explored {
    fn holds(&self, world: &World, theorem: Theorem) -> bool {
        world.oath.breach.as_ref().is_none_or(|breach| breach.theorem != theorem)
    }

    fn is_no_wedge(&self, world: &World) -> bool {
        let sample = self.config.wedge_sample;
        if sample == 0 || !hash_of(world).is_multiple_of(sample) {
            return true;
        }
        self.continued.fetch_add(1, Ordering::Relaxed);
        wedged(&self.config, world).is_none()
    }
}

impl Model for Explored {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        beginnings(&self.config)
    }

    fn actions(&self, world: &World, moves: &mut Vec<Action>) {
        Action::all(&self.config, world, moves);
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut play = Play::new(&self.config, world.clone());
        action.play(&mut play);
        Some(play.end().0)
    }

    fn properties(&self) -> Vec<Property<Explored>> {
        vec![
            Property::always("S1", |model: &Explored, world: &World| {
                model.holds(world, Theorem::OneWritablePrimary)
            }),
            Property::always("S2", |model: &Explored, world: &World| model.holds(world, Theorem::OneOwnerAnEpoch)),
            Property::always("S3", |model: &Explored, world: &World| model.holds(world, Theorem::PromotedByVotes)),
            Property::always("S4", |model: &Explored, world: &World| model.holds(world, Theorem::Succession)),
            Property::always("no wedge", |model: &Explored, world: &World| model.is_no_wedge(world)),
        ]
    }

    fn within_boundary(&self, world: &World) -> bool {
        world.oath.highest() <= Epoch(self.config.epochs)
    }
}
