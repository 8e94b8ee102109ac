//! What will happen, by time, and at one instant in the order it was put in.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The queue.
pub struct Queue<T> {
    order: BinaryHeap<Reverse<(u64, u64, u32)>>,
    slots: Vec<Option<T>>,
    free: Vec<u32>,
    put: u64,
}

impl<T> Queue<T> {
    /// Nothing will happen.
    pub fn new() -> Queue<T> {
        Queue { order: BinaryHeap::new(), slots: Vec::new(), free: Vec::new(), put: 0 }
    }

    /// How much is to come.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// At `when` this will happen.
    pub fn put(&mut self, when: u64, what: T) {
        self.put += 1;
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = Some(what);
                slot
            }
            None => {
                self.slots.push(Some(what));
                u32::try_from(self.slots.len() - 1).expect("fewer than four thousand million things to come")
            }
        };
        self.order.push(Reverse((when, self.put, slot)));
    }

    /// What happens next, if it does not happen after `end`.
    pub fn take(&mut self, end: u64) -> Option<(u64, T)> {
        let Reverse((when, _, slot)) = *self.order.peek()?;
        if when > end {
            return None;
        }
        self.order.pop();
        self.free.push(slot);
        let what = self.slots[slot as usize].take().expect("a slot in the order is filled");
        Some((when, what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_come_by_time_and_then_as_they_were_put() {
        let mut queue = Queue::new();
        for (when, what) in [(5, 'c'), (1, 'a'), (5, 'd'), (2, 'b')] {
            queue.put(when, what);
        }
        let mut came = String::new();
        while let Some((_, what)) = queue.take(4) {
            came.push(what);
        }
        queue.put(5, 'e');
        while let Some((_, what)) = queue.take(9) {
            came.push(what);
        }
        assert_eq!(came, "abcde");
    }
}
