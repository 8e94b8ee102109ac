//! One way of a link, by table and by property. Times are exact: nothing here runs.

use std::time::Duration;

use proptest::prelude::*;

use super::link::{Fate, Link, Loss};
use super::terms::{Change, Terms};
use super::topology::Way;

const WAY: Way = Way { from: 0, to: 1 };
const PACKET: u64 = 1500;

fn terms(words: &str) -> Terms {
    let words: Vec<&str> = words.split_whitespace().collect();
    Change::parse(&words).unwrap().of(Terms::default())
}

fn link(words: &str) -> Link {
    Link::new(terms(words), 7, WAY)
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn once(due_ms: u64) -> Fate {
    Fate::Arrives { due: ms(due_ms), copies: 1 }
}

#[test]
fn packets_of_1500_bytes_arrive_when_the_terms_say() {
    let full = Fate::Lost(Loss::Full);
    let cases: [(&str, &[u64], &[Fate]); 6] = [
        ("", &[0, 5], &[once(0), once(5)]),
        ("delay 40ms", &[0, 0, 5], &[once(40), once(40), once(45)]),
        // 12 Mbit/s is a packet a millisecond: they leave one after the other, and an idle link saves nothing up.
        ("rate 12mbit delay 10ms", &[0, 0, 0, 50], &[once(11), once(12), once(13), once(61)]),
        // Two wait; what is on its way since a millisecond waits no more.
        ("rate 12mbit queue 3000B", &[0, 0, 0, 1], &[once(1), once(2), full, once(3)]),
        ("loss 100%", &[0, 1], &[Fate::Lost(Loss::Chance); 2]),
        ("duplicate 100% delay 1ms", &[3], &[Fate::Arrives { due: ms(4), copies: 2 }]),
    ];
    for (words, offered, fates) in cases {
        let mut link = link(words);
        let got: Vec<Fate> = offered.iter().map(|at| link.offer(ms(*at), PACKET)).collect();
        assert_eq!(got, fates, "{words}");
    }
}

#[test]
fn a_cut_loses_what_comes_and_what_is_under_way_and_a_heal_brings_nothing_back() {
    let mut link = link("delay 40ms");
    let before = link.life();
    assert_eq!(link.offer(ms(0), PACKET), once(40));
    link.cut();
    assert_eq!(link.offer(ms(1), PACKET), Fate::Lost(Loss::Cut));
    link.heal();
    assert_eq!(link.offer(ms(2), PACKET), once(42));
    assert!(!link.arrives(before, PACKET), "it was under way when the link was cut");
    assert!(link.arrives(link.life(), PACKET));
    let counts = link.counts();
    assert_eq!((counts.arrived, counts.bytes, counts.lost_by_cut), (1, PACKET, 2));
}

#[test]
fn a_shorter_delay_lets_nothing_overtake_unless_it_may() {
    for (reorder, second) in [("off", 100), ("on", 11)] {
        let mut link = link(&format!("delay 100ms reorder {reorder}"));
        assert_eq!(link.offer(ms(0), PACKET), once(100));
        link.set(terms(&format!("delay 10ms reorder {reorder}")));
        assert_eq!(link.offer(ms(1), PACKET), once(second), "reorder {reorder}");
    }
}

#[test]
fn a_healed_link_does_not_wait_for_what_was_lost() {
    let mut link = link("rate 12mbit delay 10s");
    link.offer(ms(0), 150 * PACKET);
    link.cut();
    link.heal();
    link.set(terms("delay 1ms"));
    assert_eq!(link.offer(ms(1), PACKET), once(2));
}

#[test]
fn memory_is_bounded_also_without_a_rate() {
    let mut link = link("delay 60s queue 1GiB");
    let taken = (0..1000).take_while(|_| link.offer(ms(0), 1 << 20) != Fate::Lost(Loss::Full)).count();
    assert_eq!(taken, 64);
    assert!(link.arrives(link.life(), 1 << 20));
    assert_eq!(link.offer(ms(0), 1 << 20), once(60_000), "there is room again");
}

#[test]
fn chances_are_what_was_asked_for() {
    let mut link = link("loss 10% duplicate 20%");
    let fates: Vec<Fate> = (0..100_000).map(|at| link.offer(ms(at), 0)).collect();
    let lost = fates.iter().filter(|fate| **fate == Fate::Lost(Loss::Chance)).count();
    let twice = fates.iter().filter(|fate| matches!(fate, Fate::Arrives { copies: 2, .. })).count();
    // Five standard deviations.
    assert!((9_500..10_500).contains(&lost), "{lost} of 100,000 at 10 %");
    assert!((17_400..18_600).contains(&twice), "{twice} of 90,000 at 20 %");
}

#[test]
fn a_seed_is_a_fate_and_each_way_has_its_own() {
    let fates = |seed, way| {
        let mut link = Link::new(terms("loss 50% jitter 10ms"), seed, way);
        (0..100).map(|at| link.offer(ms(at), PACKET)).collect::<Vec<_>>()
    };
    assert_eq!(fates(1, WAY), fates(1, WAY));
    assert_ne!(fates(1, WAY), fates(2, WAY));
    assert_ne!(fates(1, WAY), fates(1, WAY.back()));
}

#[test]
fn one_chance_changes_no_other() {
    let lost = |words: &str| {
        let mut link = link(words);
        (0..1000).map(|at| link.offer(ms(at), PACKET) == Fate::Lost(Loss::Chance)).collect::<Vec<_>>()
    };
    assert_eq!(lost("loss 20%"), lost("loss 20% jitter 30ms duplicate 50% reorder on"));
}

fn some_terms() -> impl Strategy<Value = Terms> {
    let times = (0..200u64, 0..50u64);
    let rest = (any::<bool>(), 0..30u32, 0..30u32, prop::option::of(1..1000u64), 2..64u64);
    (times, rest).prop_map(|((delay, jitter), (reorder, loss, duplicate, rate, queue))| {
        let rate = rate.map_or("unlimited".into(), |mbit| format!("{mbit}mbit"));
        let reorder = if reorder { "on" } else { "off" };
        terms(&format!(
            "delay {delay}ms jitter {jitter}ms reorder {reorder} loss {loss}% duplicate {duplicate}% \
             rate {rate} queue {queue}KiB"
        ))
    })
}

proptest! {
    /// Whatever the terms: nothing is early, nothing is later than its terms and what may be before it allow, order is kept
    /// where it is to be, and no more passes than the rate.
    #[test]
    fn nothing_is_early_out_of_order_or_beyond_the_rate(
        terms in some_terms(),
        seed in any::<u64>(),
        gaps in prop::collection::vec((0..2_000u64, 40..1500u64), 1..200),
    ) {
        let mut link = Link::new(terms, seed, WAY);
        let (mut now, mut last, mut passed) = (Duration::ZERO, Duration::ZERO, 0);
        let most_waiting = terms.rate.time_of(terms.queue.bytes());
        for (gap_us, bytes) in gaps {
            now += Duration::from_micros(gap_us);
            let Fate::Arrives { due, .. } = link.offer(now, bytes) else { continue };
            passed += bytes;
            prop_assert!(due >= now + terms.delay.0, "early");
            // A queue counts whole bytes, and times are rounded down to a nanosecond for each packet.
            let slack = Duration::from_micros(10);
            prop_assert!(due <= now.max(last) + most_waiting + terms.delay.0 + terms.jitter.0 + slack, "late");
            prop_assert!(terms.reorder.0 || due >= last, "overtaken");
            prop_assert!(due + slack >= terms.rate.time_of(passed) + terms.delay.0, "faster than the rate");
            last = last.max(due);
        }
    }
}
