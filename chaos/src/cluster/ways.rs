//! Which ways between regions are meant: what is cut, healed or changed at once.

/// Some ways, each from one region to another, by the regions' places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ways {
    /// Everything between all regions.
    All,
    /// To and from one.
    Around(usize),
    /// From the first to the second alone.
    OneWay(usize, usize),
}

impl Ways {
    /// Each of them, as from and to, among so many regions.
    pub fn among(self, regions: usize) -> Vec<(usize, usize)> {
        match self {
            Ways::All => {
                (0..regions).flat_map(|to| (0..to).flat_map(move |from| [(from, to), (to, from)])).collect()
            }
            Ways::Around(one) => {
                let others = (0..regions).filter(move |other| *other != one);
                others.flat_map(|other| [(one, other), (other, one)]).collect()
            }
            Ways::OneWay(from, to) => vec![(from, to)],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_are_those_that_are_named() {
        assert_eq!(Ways::Around(1).among(3), [(1, 0), (0, 1), (1, 2), (2, 1)]);
        assert_eq!(Ways::All.among(3), [(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)]);
        assert_eq!(Ways::OneWay(2, 0).among(3), [(2, 0)]);
    }
}
