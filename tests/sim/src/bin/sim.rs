//! Looks into one story: `sim --seed N [--trace] [--shorten [PROPERTY]] [--keep NAME]`, or
//! `sim --story NAME [--trace]`, or `sim --soak SECONDS [--from N]`.

use sim::{
    crew,
    run::{Outcome, play, story_of},
    story::{self, Story},
    world::{ordinary_size, soak_size},
};
use std::{
    env,
    io::{self, Write},
    process::ExitCode,
    time::{Duration, Instant},
};

const USAGE: &str = "sim --seed N | --story NAME | --soak SECONDS [--from N]; with a story: [--trace] [--shorten] \
                     [--property NAME] [--keep NAME]";

#[derive(Default)]
struct Wanted {
    seed: Option<u64>,
    story: Option<String>,
    soak_s: Option<u64>,
    from: u64,
    trace: bool,
    shorten: bool,
    property: Option<String>,
    keep: Option<String>,
}

fn wanted() -> Result<Wanted, String> {
    let mut wanted = Wanted::default();
    let mut words = env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} wants a value"));
        let number = |text: String| text.parse::<u64>().map_err(|e| format!("`{text}`: {e}"));
        match word.as_str() {
            "--seed" => wanted.seed = Some(number(value()?)?),
            "--story" => wanted.story = Some(value()?),
            "--soak" => wanted.soak_s = Some(number(value()?)?),
            "--from" => wanted.from = number(value()?)?,
            "--trace" => wanted.trace = true,
            "--shorten" => wanted.shorten = true,
            "--property" => wanted.property = Some(value()?),
            "--keep" => wanted.keep = Some(value()?),
            _ => return Err(format!("`{word}` is not understood; {USAGE}")),
        }
    }
    Ok(wanted)
}

fn show(out: &mut impl Write, outcome: &Outcome) -> io::Result<()> {
    for line in &outcome.trace {
        writeln!(out, "{line}")?;
    }
    for failure in &outcome.failures {
        writeln!(out, "FAILS {}: {}", failure.property, failure.what)?;
    }
    writeln!(
        out,
        "{} things, {} messages, {} asks, {} reloads, {} incidents, {} notices",
        outcome.things, outcome.messages, outcome.asks, outcome.reloads, outcome.incidents, outcome.notices
    )
}

fn one(out: &mut impl Write, wanted: &Wanted, mut story: Story) -> io::Result<bool> {
    let crew = crew::real();
    let plain = |story: &Story| play(story, &crew, false);
    let mut outcome = plain(&story);
    let first = outcome.failures.first().map(|f| f.property.to_owned());
    let property = wanted.property.clone().or(first);
    if let Some(property) = property.filter(|_| wanted.shorten || wanted.keep.is_some()) {
        story = story.shortened(&property, &plain);
        outcome = plain(&story);
        let found = outcome.failures.iter().find(|f| f.property == property);
        story.why = found.map_or(property.clone(), |f| format!("{property}: {}", f.what));
    }
    if wanted.trace {
        outcome = play(&story, &crew, true);
        writeln!(out, "{}", serde_json::to_string(&story.faults)?)?;
    }
    show(out, &outcome)?;
    if let Some(name) = &wanted.keep {
        writeln!(out, "kept as {}", story.keep(name)?.display())?;
    }
    Ok(outcome.failures.is_empty())
}

fn soak(out: &mut impl Write, wanted: &Wanted, seconds: u64) -> io::Result<bool> {
    let crew = crew::real();
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut seed = wanted.from;
    let mut failed = 0;
    while Instant::now() < end {
        let outcome = play(&story_of(seed, soak_size), &crew, false);
        for failure in &outcome.failures {
            writeln!(out, "soak seed {seed}: {}: {}", failure.property, failure.what)?;
        }
        failed += u64::from(!outcome.failures.is_empty());
        seed += 1;
    }
    writeln!(out, "{} soak seeds, {failed} fail", seed - wanted.from)?;
    Ok(failed == 0)
}

fn main() -> ExitCode {
    let wanted = match wanted() {
        Ok(wanted) => wanted,
        Err(why) => {
            let _ = writeln!(io::stderr(), "{why}");
            return ExitCode::from(2);
        }
    };
    let mut out = io::BufWriter::new(io::stdout().lock());
    let done = match (wanted.seed, &wanted.story, wanted.soak_s) {
        (Some(seed), _, _) => one(&mut out, &wanted, story_of(seed, ordinary_size)),
        (None, Some(name), _) => story::kept().and_then(|kept| {
            let found = kept.into_iter().find(|(kept, _)| kept == name);
            let missing = || io::Error::new(io::ErrorKind::NotFound, format!("no story is called `{name}`"));
            one(&mut out, &wanted, found.ok_or_else(missing)?.1)
        }),
        (None, None, Some(seconds)) => soak(&mut out, &wanted, seconds),
        (None, None, None) => Err(io::Error::new(io::ErrorKind::InvalidInput, USAGE)),
    };
    let flushed = out.flush();
    match done.and_then(|well| flushed.map(|()| well)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::from(2)
        }
    }
}
