//! Ten thousand stories, each another network with other failures, and every one ever kept.

use sim::{
    crew,
    run::{Outcome, play, story_of},
    story,
    world::ordinary_size,
};
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Instant,
};

/// How many failing seeds are enough to stop.
const ENOUGH: u64 = 50;

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

fn run(seed: u64, telling: bool) -> Outcome {
    play(&story_of(seed, ordinary_size), &crew::real(), telling)
}

/// `MASTWATCH_SIM_SEEDS` stories (10,000), beginning with `MASTWATCH_SIM_FROM` (0).
#[test]
fn ten_thousand_seeds() {
    let count = from_environment("MASTWATCH_SIM_SEEDS").unwrap_or(10_000);
    let from = from_environment("MASTWATCH_SIM_FROM").unwrap_or(0);
    let enough = from_environment("MASTWATCH_SIM_ENOUGH").unwrap_or(ENOUGH);
    let next = AtomicU64::new(from);
    let failed = AtomicU64::new(0);
    let began = Instant::now();
    let work = || {
        let mut mine: Vec<(u64, Outcome)> = vec![];
        let mut total = Outcome::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= from + count || failed.load(Ordering::Relaxed) >= enough {
                return (mine, total);
            }
            let outcome = run(seed, false);
            total.messages += outcome.messages;
            total.things += outcome.things;
            total.reloads += outcome.reloads;
            total.incidents += outcome.incidents;
            total.sessions_lost += outcome.sessions_lost;
            total.notices += outcome.notices;
            total.asks += outcome.asks;
            total.told_after_s.extend(&outcome.told_after_s);
            let again = (seed % 50 == 7).then(|| run(seed, false).incidents_digest);
            assert!(
                again.is_none_or(|again| again == outcome.incidents_digest),
                "seed {seed} told twice gives other incidents"
            );
            if !outcome.failures.is_empty() {
                failed.fetch_add(1, Ordering::Relaxed);
                mine.push((seed, outcome));
            }
        }
    };
    let threads = thread::available_parallelism().map_or(2, usize::from);
    let mut total = Outcome::default();
    let mut failures: BTreeMap<u64, Outcome> = BTreeMap::new();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            let (mine, theirs) = worker.join().expect("a worker that does not panic");
            failures.extend(mine);
            total.messages += theirs.messages;
            total.things += theirs.things;
            total.reloads += theirs.reloads;
            total.incidents += theirs.incidents;
            total.sessions_lost += theirs.sessions_lost;
            total.notices += theirs.notices;
            total.asks += theirs.asks;
            total.told_after_s.extend(theirs.told_after_s);
        }
    });
    let told = &mut total.told_after_s;
    told.sort_by(f64::total_cmp);
    let at = |share: f64| told.get((told.len() as f64 * share) as usize).copied().unwrap_or(0.0);
    println!(
        "{count} seeds in {:.1} s: {} things, {} messages, {} asks, {} reloads, {} incidents ({} of lost sessions), \
         {} notices; told after {:.1} s (half), {:.1} s (99 of 100) of virtual time",
        began.elapsed().as_secs_f64(),
        total.things,
        total.messages,
        total.asks,
        total.reloads,
        total.incidents,
        total.sessions_lost,
        total.notices,
        at(0.5),
        at(0.99),
    );
    let mut by_property: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for (seed, outcome) in &failures {
        for failure in &outcome.failures {
            let seeds = by_property.entry(failure.property).or_default();
            if seeds.last() != Some(seed) {
                seeds.push(*seed);
            }
        }
    }
    for (property, seeds) in &by_property {
        println!("{property}: {} seeds: {:?}", seeds.len(), &seeds[..seeds.len().min(12)]);
    }
    let Some((seed, outcome)) = failures.iter().min_by_key(|(_, o)| o.messages) else { return };
    for failure in &outcome.failures {
        println!("  {}: {}", failure.property, failure.what);
    }
    panic!(
        "{} of {count} seeds fail; the shortest is {seed}. Alone:\n  \
         MASTWATCH_SIM_SEED={seed} cargo nextest run -p sim one_seed --no-capture\nShortened and kept:\n  \
         cargo run -p sim -- --seed {seed} --keep NAME",
        failures.len()
    );
}

/// The story of `MASTWATCH_SIM_SEED` (1) line by line.
#[test]
fn one_seed() {
    let seed = from_environment("MASTWATCH_SIM_SEED").unwrap_or(1);
    let outcome = run(seed, true);
    for line in &outcome.trace {
        println!("{line}");
    }
    for failure in &outcome.failures {
        println!("{}: {}", failure.property, failure.what);
    }
    assert!(outcome.failures.is_empty(), "seed {seed} fails");
}

/// Every story that ever failed, in the form it was kept.
#[test]
fn every_kept_story_ends_well() {
    let stories = story::kept().expect("the kept stories can be read");
    let mut wrong = vec![];
    for (name, story) in &stories {
        let outcome = play(story, &crew::real(), false);
        for failure in outcome.failures {
            wrong.push(format!("{name} ({}): {}: {}", story.why, failure.property, failure.what));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
