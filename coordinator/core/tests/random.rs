//! Plays random scripts on the stage: faults for a while, the checks at every step; then all faults off, and within
//! ten seconds one gate is open again, the log says whose, and soon all stream.
//!
//! A failure prints the script: put it into `tests/scripts` and it is a scenario. `SEEDS=100..200` chooses others.



use std::fmt::Write;

/// Xorshift: the same seed, the same script.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn of<'a>(&mut self, what: &[&'a str]) -> &'a str {
        let at = usize::try_from(self.below(what.len() as u64)).expect("small");
        what[at]
    }
}

struct World {
    nodes: &'static [&'static str],
    regions: &'static [&'static str],
}

const THREE: World = World { nodes: &["wa", "wb", "wc"], regions: &["a", "b", "c"] };
const FOUR: World = World { nodes: &["wa", "wb", "wc", "wd"], regions: &["a", "b", "c", "d"] };
const INSTANCES: &[&str] = &["A", "B", "C"];

fn script(seed: u64) -> String {
    let mut chance = Chance(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    (0..5).for_each(|_| assert!(chance.next() < u64::MAX));
    let world = if chance.below(3) == 0 { FOUR } else { THREE };
    let mut text = String::new();
    for end in world.nodes.iter().chain(INSTANCES) {
        let ppm = chance.of(&["-5000ppm", "0ppm", "5000ppm"]);
        writeln!(text, "> clock {end} {ppm} {}ms", chance.below(100_000)).expect("text");
    }
    writeln!(text, "> nodes {}\n> group g A B C\n> settle\n> elections on", world.nodes.join(" "))
        .expect("text");
    for _ in 0..10 + chance.below(30) {
        writeln!(text, "> {}", fault(&mut chance, &world)).expect("text");
        let longest = [20, 100, 400, 1_500][usize::try_from(chance.below(4)).expect("small")];
        writeln!(text, "> run {}ms", 1 + chance.below(longest)).expect("text");
    }
    text + "> heal all\n> run 10000ms\n> status\n> expect one primary\n> expect recorded\n> run 10000ms\n> expect all stream\n"
}

fn fault(chance: &mut Chance, world: &World) -> String {
    let region = chance.of(world.regions);
    let who = chance.of(INSTANCES);
    let node = chance.of(world.nodes);
    let end = if chance.below(2) == 0 { who } else { node };
    let other = loop {
        let other = if chance.below(3) == 0 { chance.of(INSTANCES) } else { chance.of(world.nodes) };
        if other != end {
            break other;
        }
    };
    match chance.below(29) {
        0 => format!("kill region {region}"),
        1 | 2 => format!("start region {region}"),
        3 => format!("kill {end}"),
        4 | 5 => format!("start {end}"),
        6 => format!("kill agent {who}"),
        7 | 8 => format!("restart {end}"),
        9 => format!("postgres {who} dies"),
        10 => format!("postgres {who} breaks"),
        11 => format!("freeze {end}"),
        12 | 13 => format!("thaw {end}"),
        14 => format!("cut region {region}"),
        15 => format!("heal region {region}"),
        16 | 17 => format!("cut {end} {other}"),
        18 => format!("cut {end} -> {other}"),
        19 | 20 => format!("heal {end} {other}"),
        21 => format!("delay {end} {other} {}ms", chance.below(600)),
        22 => format!("lag {node} {}ms", chance.below(1_000)),
        23 => format!("switchover of g to {who}"),
        24 => electorate(chance, world),
        25 => format!("solicit {node} {} {who}", 2 + chance.below(12)),
        26 => chance.of(&["leader none", "leader wa", "leader wb", "leader wc"]).to_owned(),
        27 => format!("propose succession {} {}-back {who}", 1 + chance.below(4), chance.below(2)),
        _ => "heal all".to_owned(),
    }
}

fn electorate(chance: &mut Chance, world: &World) -> String {
    let wish = chance.of(&["wa wb wc", "wa wb wc wd", "wb wc wd", "wa wb", "wa wd wc"]);
    let known = wish.split(' ').all(|name| world.nodes.contains(&name));
    format!("electorate of g {}", if known { wish } else { "wa wb wc" })
}

fn seeds() -> std::ops::Range<u64> {
    let wish = std::env::var_os("SEEDS").map(|wish| wish.to_string_lossy().into_owned());
    let wish = wish.unwrap_or_else(|| "1..200".to_owned());
    let (from, to) = wish.split_once("..").expect("SEEDS=from..to");
    from.parse().expect("a number")..to.parse().expect("a number")
}

#[test]
fn whatever_happens_one_is_primary_and_when_all_is_mended_one_is_again() {
    let mut failed = Vec::new();
    for seed in seeds() {
        let text = script(seed);
        let played = std::panic::catch_unwind(|| regent_world::play(&text));
        match played {
            Ok((_, broken)) if broken.is_empty() => continue,
            Ok((played, broken)) => failed.push((seed, broken.join("; "), played)),
            Err(_) => failed.push((seed, "panicked".to_owned(), text)),
        }
    }
    let table: Vec<String> = failed.iter().map(|(seed, why, _)| format!("seed {seed}: {why}")).collect();
    let first = failed.first().map_or("", |(_, _, text)| text);
    assert!(
        failed.is_empty(),
        "{} failed:\n{}\nthe first as it played:\n{first}",
        failed.len(),
        table.join("\n")
    );
}

#[test]
fn the_same_script_gives_the_same_bytes() {
    for seed in 1..6 {
        let text = script(seed);
        assert_eq!(regent_world::play(&text), stage::play(&text), "seed {seed}");
    }
}
