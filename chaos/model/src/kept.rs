//! A part of the world that most actions leave alone: shared between states, and hashed once for all of them.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

/// A shared value and its hash.
#[derive(Clone, Debug)]
pub struct Kept<T> {
    value: Arc<T>,
    /// `None` after a change.
    hash: Option<u64>,
}

impl<T: Clone + Hash> Kept<T> {
    /// Keeps a value.
    pub fn new(value: T) -> Kept<T> {
        let hash = Some(hash_of(&value));
        Kept { value: Arc::new(value), hash }
    }

    /// To change it: what is shared with other states is copied first.
    pub fn change(&mut self) -> &mut T {
        self.hash = None;
        Arc::make_mut(&mut self.value)
    }

    /// Hashes it again if it was changed.
    pub fn seal(&mut self) {
        if self.hash.is_none() {
            self.hash = Some(hash_of(&*self.value));
        }
    }

    /// The hash of a sealed value.
    pub fn hash(&self) -> u64 {
        self.hash.expect("sealed at the end of every action")
    }
}

impl<T> Deref for Kept<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

/// A hash that is the same in every run: keyed with zeros.
pub fn hash_of<T: Hash>(value: &T) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
