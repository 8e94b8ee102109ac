//! Who can reach whom, how long it takes, and in what weather. Ends are nodes and instances, each in a region.

use crate::chance::Chance;
use crate::clock::MS;

/// A node or an instance, by the order in which it was placed.
pub type End = usize;

/// What a region's way to another does to messages.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Weather {
    /// At most how much later a message comes than the distance demands.
    pub jitter: u64,
    /// How many of a million are lost.
    pub loss: u32,
    /// How many of a million come twice.
    pub twice: u32,
    /// How many of a million may overtake.
    pub overtaking: u32,
}

#[derive(Clone, Copy, Default)]
struct Path {
    delay: Option<u64>,
    cut: bool,
    /// When the last message that keeps its place arrives.
    last: u64,
}

/// What becomes of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Passage {
    /// It comes after that time.
    Comes(u64),
    /// It comes, and then again.
    Twice(u64, u64),
    /// It does not.
    Lost,
}

/// The links between all ends.
#[derive(Default)]
pub struct Links {
    regions: Vec<usize>,
    names: Vec<String>,
    paths: Vec<Vec<Path>>,
    distances: Vec<Vec<u64>>,
    weather: Vec<Vec<Weather>>,
}

/// One way between two regions: round trips of 60, 80 and 140 ms, as in the time budget of the design.
fn usual(a: usize, b: usize) -> u64 {
    match (a.min(b), a.max(b)) {
        (a, b) if a == b => MS / 5,
        (0, 1) => 30 * MS,
        (0, 2) => 40 * MS,
        (1, 2) => 70 * MS,
        _ => 50 * MS,
    }
}

impl Links {
    /// Places an end in a region.
    pub fn place(&mut self, name: &str, region: usize) -> End {
        self.regions.push(region);
        self.names.push(name.to_owned());
        let many = self.regions.len();
        self.paths.push(Vec::new());
        self.paths.iter_mut().for_each(|row| row.resize(many, Path::default()));
        many - 1
    }

    /// Says how far the regions are from each other, one way, instead of the usual distances.
    pub fn set_distances(&mut self, distances: Vec<Vec<u64>>) {
        self.weather = vec![vec![Weather::default(); distances.len()]; distances.len()];
        self.distances = distances;
    }

    /// The end of that name.
    pub fn find(&self, name: &str) -> Option<End> {
        self.names.iter().position(|known| known == name)
    }

    /// The region of an end.
    pub fn region(&self, end: End) -> usize {
        self.regions[end]
    }

    /// All ends, by name.
    pub fn ends(&self) -> Vec<End> {
        let mut ends: Vec<End> = (0..self.names.len()).collect();
        ends.sort_unstable_by(|a, b| self.names[*a].cmp(&self.names[*b]));
        ends
    }

    /// All ends in a region, by name.
    pub fn ends_in(&self, region: usize) -> Vec<End> {
        self.ends().into_iter().filter(|end| self.regions[*end] == region).collect()
    }

    /// How long a message takes, one way.
    pub fn delay(&self, from: End, to: End) -> u64 {
        self.paths[from][to].delay.unwrap_or_else(|| self.distance(self.regions[from], self.regions[to]))
    }

    fn distance(&self, from: usize, to: usize) -> u64 {
        self.distances.get(from).map_or_else(|| usual(from, to), |row| row[to])
    }

    /// The longest way there is when no path has a delay of its own.
    pub fn longest(&self) -> u64 {
        self.distances.iter().flatten().copied().max().unwrap_or(70 * MS)
    }

    /// Sets how long messages take, one way.
    pub fn set_delay(&mut self, from: End, to: End, delay: u64) {
        self.paths[from][to].delay = Some(delay);
    }

    /// The distance alone counts again, one way.
    pub fn usual_delay(&mut self, from: End, to: End) {
        self.paths[from][to].delay = None;
    }

    /// Sets the weather from one region to another.
    pub fn set_weather(&mut self, from: usize, to: usize, weather: Weather) {
        self.weather[from][to] = weather;
    }

    /// Whether a message sent now can arrive.
    pub fn open(&self, from: End, to: End) -> bool {
        !self.paths[from][to].cut
    }

    /// Whether both ways are open.
    pub fn joined(&self, a: End, b: End) -> bool {
        self.open(a, b) && self.open(b, a)
    }

    /// Whether nothing but the distance is between two ends, both ways.
    pub fn calm(&self, a: End, b: End) -> bool {
        let usual = |from: End, to: End| {
            let weather = self.weather.get(self.regions[from]).map(|row| row[self.regions[to]]);
            let path = &self.paths[from][to];
            !path.cut && path.delay.is_none() && weather.unwrap_or_default() == Weather::default()
        };
        usual(a, b) && usual(b, a)
    }

    /// Cuts one way.
    pub fn cut(&mut self, from: End, to: End) {
        self.paths[from][to].cut = true;
    }

    /// Heals one way; says whether it was cut.
    pub fn heal(&mut self, from: End, to: End) -> bool {
        std::mem::take(&mut self.paths[from][to].cut)
    }

    /// Forgets every delay that was set, and all weather.
    pub fn usual_delays(&mut self) {
        self.paths.iter_mut().flatten().for_each(|path| (path.delay, path.last) = (None, 0));
        self.weather.iter_mut().flatten().for_each(|weather| *weather = Weather::default());
    }

    /// What becomes of a message sent now.
    pub fn passage(&mut self, from: End, to: End, now: u64, chance: &mut Chance) -> Passage {
        if !self.open(from, to) {
            return Passage::Lost;
        }
        let delay = self.delay(from, to);
        let Some(weather) = self.weather.get(self.regions[from]).map(|row| row[self.regions[to]]) else {
            return Passage::Comes(delay); // no weather at all
        };
        if weather == Weather::default() {
            return Passage::Comes(self.keep_place(from, to, now, delay));
        }
        if chance.happens(weather.loss) {
            return Passage::Lost;
        }
        let mut later = delay + chance.below(weather.jitter + 1);
        if !chance.happens(weather.overtaking) {
            later = self.keep_place(from, to, now, later);
        }
        if chance.happens(weather.twice) {
            return Passage::Twice(later, later + chance.below(100 * MS));
        }
        Passage::Comes(later)
    }

    /// What goes through one stream comes in order.
    fn keep_place(&mut self, from: End, to: End, now: u64, delay: u64) -> u64 {
        let path = &mut self.paths[from][to];
        path.last = path.last.max(now + delay);
        path.last - now
    }
}
