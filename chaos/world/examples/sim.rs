//! Runs seeds of a profile without the rest of the product: `cargo run -p regent-world --release --example sim -- swarm 0 1000`.

use regent_world::{Profile, numbers_of, replay, run, shrink};
use std::time::Instant;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let profile = args.first().and_then(|name| Profile::named(name)).expect("the name of a profile");
    let number =
        |at: usize| args.get(at).and_then(|text| text.parse().ok()).expect("from and to, two numbers");
    if args.get(3).map(String::as_str) == Some("shrink") {
        let faults = shrink(number(1), &profile);
        let run = replay(number(1), &profile, &faults, true);
        run.trace.iter().flatten().for_each(|line| println!("{line}"));
        println!("{:?}", numbers_of(&regent_world::faults_of(number(1), &profile), &faults));
        run.faults
            .iter()
            .chain(run.violations.iter().map(ToString::to_string).collect::<Vec<_>>().iter())
            .for_each(|line| println!("{line}"));
        return;
    }
    let begun = Instant::now();
    let (mut simulated, mut failovers, mut events, mut acked, mut lost, mut reads, mut failed) =
        (0.0, 0, 0, 0, 0, 0, 0);
    let mut partly = 0;
    let mut returns = 0;
    for seed in number(1)..number(2) {
        let run = run(seed, &profile);
        simulated += run.simulated.as_secs_f64();
        failovers += run.failovers;
        events += run.events;
        acked += run.acknowledged;
        lost += run.lost;
        reads += run.reads;
        returns += run.returns;
        partly += u64::from(!run.demanded);
        if let Some(violation) = run.violations.first() {
            failed += 1;
            println!("seed {seed}: {violation}");
        }
    }
    let took = begun.elapsed().as_secs_f64();
    println!(
        "{failed} failed; {:.1} s; {:.0} simulated s/s, {:.0} failovers/s ({failovers}), {:.0} events/s, {acked} writes, {lost} lost, {reads} reads, {partly} not demanded of all, {returns} returns",
        took,
        simulated / took,
        failovers as f64 / took,
        events as f64 / took
    );
}
