//! What a thing needs in order to work.

use events::{Group, GroupMode, Member, NodeId};
use serde::{Deserialize, Serialize};

/// How many of a need's members must work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// One.
    Any,
    /// Every one.
    All,
    /// So many.
    Least(u16),
}

/// One requirement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Need {
    /// How many must work.
    pub mode: Mode,
    /// Of these.
    pub of: Vec<Of>,
}

/// A member of a requirement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Of {
    /// A thing, by its number.
    Thing(u32),
    /// A requirement of its own.
    Need(Need),
}

impl Need {
    /// Every one of `things`.
    pub fn all(things: &[u32]) -> Self {
        Self { mode: Mode::All, of: things.iter().map(|t| Of::Thing(*t)).collect() }
    }

    /// One of `things`.
    pub fn any(things: &[u32]) -> Self {
        Self { mode: Mode::Any, of: things.iter().map(|t| Of::Thing(*t)).collect() }
    }

    /// Whether it is met when just the things of `works` work.
    pub fn holds(&self, works: &[bool]) -> bool {
        let good = self.of.iter().filter(|of| of.holds(works)).count();
        match self.mode {
            Mode::Any => good >= 1,
            Mode::All => good == self.of.len(),
            Mode::Least(k) => good >= usize::from(k),
        }
    }

    /// Calls `each` with every thing it speaks of.
    pub fn things(&self, each: &mut impl FnMut(u32)) {
        for of in &self.of {
            match of {
                Of::Thing(thing) => each(*thing),
                Of::Need(need) => need.things(each),
            }
        }
    }

    /// Calls `each` with every thing that does not work in a part of it that does not hold.
    pub fn missing(&self, works: &[bool], each: &mut impl FnMut(u32)) {
        if self.holds(works) {
            return;
        }
        for of in &self.of {
            match of {
                Of::Thing(thing) if !works[*thing as usize] => each(*thing),
                Of::Thing(_) => {}
                Of::Need(need) => need.missing(works, each),
            }
        }
    }

    pub(super) fn renumbered(&self, number: &[Option<u32>]) -> Option<Self> {
        let member = |of: &Of| {
            Some(match of {
                Of::Thing(thing) => Of::Thing(number[*thing as usize]?),
                Of::Need(need) => Of::Need(need.renumbered(number)?),
            })
        };
        Some(Self { mode: self.mode, of: self.of.iter().map(member).collect::<Option<_>>()? })
    }

    pub(super) fn group(&self, ids: &[NodeId]) -> Group {
        Group {
            mode: match self.mode {
                Mode::Any => GroupMode::Any,
                Mode::All => GroupMode::All,
                Mode::Least(k) => GroupMode::KOfN { k },
            },
            members: self
                .of
                .iter()
                .map(|of| match of {
                    Of::Thing(thing) => Member::Node(ids[*thing as usize]),
                    Of::Need(need) => Member::Group(need.group(ids)),
                })
                .collect(),
        }
    }
}

impl Of {
    fn holds(&self, works: &[bool]) -> bool {
        match self {
            Of::Thing(thing) => works[*thing as usize],
            Of::Need(need) => need.holds(works),
        }
    }
}
