//! A part of the world that most actions leave alone: hashed once, and shared by all states in which it is the same.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::{Arc, Mutex};

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

    /// Hashes it again if it was changed, and takes the one known already if there is an equal one.
    pub fn seal(&mut self, known: &Known<T>) {
        if self.hash.is_none() {
            let hash = hash_of(&*self.value);
            self.value = known.one(hash, &self.value);
            self.hash = Some(hash);
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

/// All values of a kind that were ever seen, each once: millions of states are made of few different parts.
#[derive(Debug)]
pub struct Known<T>(Mutex<HashMap<u64, Arc<T>>>);

impl<T> Default for Known<T> {
    fn default() -> Self {
        Known(Mutex::new(HashMap::new()))
    }
}

impl<T> Known<T> {
    fn one(&self, hash: u64, value: &Arc<T>) -> Arc<T> {
        let mut known = self.0.lock().expect("nobody panics with it");
        known.entry(hash).or_insert_with(|| value.clone()).clone()
    }
}

/// A hash that is the same in every run: keyed with zeros.
pub fn hash_of<T: Hash>(value: &T) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
