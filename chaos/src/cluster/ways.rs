//! Which ways between regions are meant: what is cut, healed or changed at once.

/// Some ways, each from one region to another, by the regions' places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ways {
    /// Everything between all regions.
    All,
    /// To and from one.
    Around(usize),
    /// To one: it sends and hears nothing.
    Into(usize),
    /// From one: it hears and is not heard.
    OutOf(usize),
    /// From the first to the second alone.
    OneWay(usize, usize),
    /// Between two, while both see all others.
    Pair(usize, usize),
    /// Between each of the first and each of the second. Without a region that is in neither they are two islands, with one
    /// it is their bridge.
    Between(Vec<usize>, Vec<usize>),
    /// Between all that are no neighbours, the last and the first being some: without them the regions are a ring.
    Chords,
}

impl Ways {
    /// Each of them, as from and to, among so many regions.
    pub fn among(&self, regions: usize) -> Vec<(usize, usize)> {
        let all = (0..regions).flat_map(|from| (0..regions).map(move |to| (from, to)));
        all.filter(|(from, to)| from != to && self.has(*from, *to, regions)).collect()
    }

    fn has(&self, from: usize, to: usize, regions: usize) -> bool {
        match self {
            Ways::All => true,
            Ways::Around(one) => from == *one || to == *one,
            Ways::Into(one) => to == *one,
            Ways::OutOf(one) => from == *one,
            Ways::OneWay(a, b) => (from, to) == (*a, *b),
            Ways::Pair(a, b) => (from, to) == (*a, *b) || (from, to) == (*b, *a),
            Ways::Between(these, those) => {
                let across = |a, b| these.contains(&a) && those.contains(&b);
                across(from, to) || across(to, from)
            }
            Ways::Chords => (from + 1) % regions != to && (to + 1) % regions != from,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_are_those_that_are_named() {
        let cases = [
            (Ways::Around(1), 3, vec![(0, 1), (1, 0), (1, 2), (2, 1)]),
            (Ways::Into(1), 3, vec![(0, 1), (2, 1)]),
            (Ways::OutOf(1), 3, vec![(1, 0), (1, 2)]),
            (Ways::OneWay(2, 0), 3, vec![(2, 0)]),
            (Ways::Pair(2, 0), 3, vec![(0, 2), (2, 0)]),
            // Region 1 is the bridge.
            (Ways::Between(vec![0], vec![2, 3]), 4, vec![(0, 2), (0, 3), (2, 0), (3, 0)]),
            (Ways::Chords, 3, vec![]),
            (Ways::Chords, 4, vec![(0, 2), (1, 3), (2, 0), (3, 1)]),
        ];
        for (ways, regions, expected) in cases {
            assert_eq!(ways.among(regions), expected, "{ways:?} among {regions}");
        }
        assert_eq!(Ways::All.among(5).len(), 20);
    }
}
