//! A story that can be kept: a world, what happens to it, and what goes wrong on the way.
//!
//! A seed draws one; a failing one is shortened and saved under `stories/`, where a test plays it
//! for ever after, whatever becomes of the drawing.

use crate::{
    fault::Faults,
    run::Outcome,
    script::{Script, Step, What},
    world::World,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

/// One tenant's part in a story.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Its network.
    pub world: World,
    /// What happens to it.
    pub script: Script,
}

/// Everything a run follows from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Story {
    /// What once went wrong in it.
    #[serde(default)]
    pub why: String,
    /// What its chances follow from.
    pub seed: u64,
    /// Its tenants.
    pub parts: Vec<Part>,
    /// What goes wrong on the way.
    pub faults: Faults,
}

/// Where stories are kept.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("stories")
}

/// Every story that is kept, by name.
///
/// # Errors
///
/// When the folder or a file in it cannot be read, or is no story.
pub fn kept() -> io::Result<Vec<(String, Story)>> {
    let mut stories = vec![];
    for file in fs::read_dir(folder())? {
        let path = file?.path();
        if path.extension().is_some_and(|e| e == "json") {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let story = serde_json::from_slice(&fs::read(&path)?)
                .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, format!("{name}: {e}")))?;
            stories.push((name, story));
        }
    }
    stories.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(stories)
}

impl Story {
    /// Keeps it under `name`.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn keep(&self, name: &str) -> io::Result<PathBuf> {
        let path = folder().join(format!("{name}.json"));
        fs::create_dir_all(folder())?;
        let mut text = serde_json::to_vec(self)?;
        text.push(b'\n');
        fs::write(&path, text)?;
        Ok(path)
    }

    /// A shorter story in which `property` still fails: fewer tenants, steps, faults and things.
    pub fn shortened(&self, property: &str, play: &dyn Fn(&Story) -> Outcome) -> Story {
        let fails = |story: &Story| play(story).failures.iter().any(|f| f.property == property);
        let mut best = self.clone();
        let mut from = 0;
        // Goes on where the last piece was found to be needless, and once around without finding any.
        let mut needed = 0;
        loop {
            let shorter = best.shorter();
            if shorter.is_empty() || needed >= shorter.len() {
                return best;
            }
            from %= shorter.len();
            if fails(&shorter[from]) {
                best = shorter[from].clone();
                needed = 0;
            } else {
                needed += 1;
                from += 1;
            }
        }
    }

    /// Every story that is one piece shorter, the boldest first.
    fn shorter(&self) -> Vec<Story> {
        let mut shorter = vec![];
        if self.parts.len() > 1 {
            for i in 0..self.parts.len() {
                let mut story = self.clone();
                story.parts.remove(i);
                shorter.push(story);
            }
        }
        shorter.extend(self.with_fewer_faults());
        for (i, part) in self.parts.iter().enumerate() {
            let n = part.script.steps.len();
            let mut size = n.div_ceil(2);
            while size >= 1 && n > 0 {
                for from in (0..n).step_by(size) {
                    let mut story = self.clone();
                    story.parts[i].script.steps.drain(from..(from + size).min(n));
                    if story.is_decidable() {
                        shorter.push(story);
                    }
                }
                if size == 1 {
                    break;
                }
                size = size.div_ceil(2);
            }
            let touched: Vec<u32> = part.script.steps.iter().flat_map(Step::things).collect();
            let mut tried = BTreeSet::new();
            for thing in 0..part.world.things.len() as u32 {
                let gone = part.world.with_dependents(thing);
                if gone.iter().any(|t| touched.contains(t)) || !tried.insert(gone.clone()) {
                    continue;
                }
                if let Some(world) = part.world.without(&gone) {
                    let mut story = self.clone();
                    let renumber = |t: u32| t - gone.iter().filter(|g| **g < t).count() as u32;
                    for step in &mut story.parts[i].script.steps {
                        step.thing = renumber(step.thing);
                        if let What::Move { to } = &mut step.what {
                            *to = renumber(*to);
                        }
                    }
                    story.parts[i].world = world;
                    shorter.push(story);
                }
            }
        }
        shorter
    }

    fn with_fewer_faults(&self) -> Vec<Story> {
        let none = Faults { chunk: self.faults.chunk, ..Faults::default() };
        let mut all = vec![none];
        let switches: [fn(&mut Faults); 21] = [
            |f| f.claims_lost = 0,
            |f| f.claims_doubled = 0,
            |f| f.claims_delayed = 0,
            |f| f.routers_unnumbered = 0,
            |f| f.routers_parking = 0,
            |f| f.routers_skewed = 0,
            |f| f.sessions_crossed = 0,
            |f| f.asks_lost = 0,
            |f| f.asks_unanswered = 0,
            |f| f.answers_late = 0,
            |f| f.answers_doubled = 0,
            |f| f.chunks_lost = 0,
            |f| f.tries_lost = 0,
            |f| (f.crashes, f.commits_lost) = (0, 0),
            |f| f.rooms_small = 0,
            |f| (f.deliveries_slow, f.acknowledged) = (0, 0),
            |f| (f.roll_calls_every_s, f.roll_calls_on_return) = (0, false),
            |f| f.visits_every_s = 0,
            |f| f.first_roll_calls = true,
            |f| f.closed_as_wrong = 0,
            |f| f.claims_degraded = 0,
        ];
        for switch in switches {
            let mut faults = self.faults.clone();
            switch(&mut faults);
            all.push(faults);
        }
        all.into_iter()
            .filter(|faults| *faults != self.faults)
            .map(|faults| Story { faults, ..self.clone() })
            .collect()
    }

    /// Whether every part ends where everything supplied can be looked at by somebody.
    fn is_decidable(&self) -> bool {
        self.parts.iter().all(|part| {
            let broken = part.script.left_broken(&part.world);
            part.script.leaves(&part.world).blinding(&broken).is_none()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        run::{Failure, story_of},
        world::ordinary_size,
    };

    #[test]
    fn a_story_survives_being_kept() {
        let story = story_of(11, ordinary_size);
        let text = serde_json::to_vec(&story).unwrap();
        assert_eq!(serde_json::from_slice::<Story>(&text).unwrap(), story);
    }

    #[test]
    fn a_story_is_shortened_to_what_still_fails() {
        // "Fails" whenever a particular thing is ever broken.
        let story = (0..50)
            .map(|seed| story_of(seed, ordinary_size))
            .find(|s| s.parts.len() == 1 && s.parts[0].script.steps.len() > 6)
            .unwrap();
        let role = |s: &Story| {
            let part = &s.parts[0];
            part.script.steps.iter().any(|x| part.world.things[x.thing as usize].role.is_router())
        };
        let play = |s: &Story| Outcome {
            failures: if role(s) { vec![Failure { property: "x", what: String::new() }] } else { vec![] },
            ..Outcome::default()
        };
        if role(&story) {
            let short = story.shortened("x", &play);
            assert!(role(&short));
            assert!(short.parts[0].script.steps.len() <= 2, "{:?}", short.parts[0].script);
            assert!(short.parts[0].world.things.len() < 8, "{}", short.parts[0].world.things.len());
        }
    }
}
