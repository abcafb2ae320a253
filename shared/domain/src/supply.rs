//! Whether what a node needs is there: satisfied, broken, or unknown.
//!
//! All modes are monotone, so supply is the least fixpoint over the whole graph, computed twice: with
//! every unknown taken as down (`holds`) and with every unknown taken as up (`may_hold`). Nodes that
//! only feed each other are not supplied, whatever the drawing says.
//!
//! It is kept up to date piece by piece: a change of one node touches only what lies below it and
//! only as far as something really changes.

use crate::graph::{Graph, Index, Need};
use std::collections::BTreeSet;

/// A three-valued answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tri {
    sure: bool,
    possible: bool,
}

impl Tri {
    /// Certainly.
    pub const YES: Tri = Tri { sure: true, possible: true };
    /// Certainly not.
    pub const NO: Tri = Tri { sure: false, possible: false };
    /// It cannot be said.
    pub const UNKNOWN: Tri = Tri { sure: false, possible: true };

    /// Satisfied.
    pub const fn holds(self) -> bool {
        self.sure
    }

    /// Broken.
    pub const fn fails(self) -> bool {
        !self.possible
    }

    /// Undetermined.
    pub const fn is_unknown(self) -> bool {
        self.possible && !self.sure
    }
}

/// What is known of a node itself, whatever it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Own {
    /// Nothing stands against it: it gives when it is supplied. Seen up before, or not observable.
    #[default]
    Follows,
    /// Seen up after its supply broke: it gives, whatever the map says.
    Proven,
    /// Broken itself.
    Broken,
    /// Not known: it gives for certain never, and possibly only when it is supplied.
    Doubtful,
}

impl Own {
    /// What such a node gives when its own supply is `supply`.
    pub const fn given(self, supply: Tri) -> Tri {
        match self {
            Own::Follows => supply,
            Own::Proven => Tri::YES,
            Own::Broken => Tri::NO,
            Own::Doubtful => Tri { sure: false, possible: supply.possible },
        }
    }
}

/// Whether a need is met, when `gives` says what each node gives.
pub fn met(need: &Need, gives: &impl Fn(Index) -> Tri) -> Tri {
    match need {
        Need::Of(i) => gives(*i),
        Need::AtLeast(k, members) => {
            let (mut sure, mut possible) = (0, 0);
            for member in members {
                let m = met(member, gives);
                sure += u32::from(m.sure);
                possible += u32::from(m.possible);
            }
            Tri { sure: sure >= *k, possible: possible >= *k }
        }
    }
}

/// Whether all needs are met.
pub fn all_met(needs: &[Need], gives: &impl Fn(Index) -> Tri) -> Tri {
    let mut all = Tri::YES;
    for need in needs {
        let m = met(need, gives);
        all = Tri { sure: all.sure && m.sure, possible: all.possible && m.possible };
    }
    all
}

/// Whether a redundant group of these needs could not lose one more member, because of members known
/// not to give, and yet is not broken.
pub fn at_risk(needs: &[Need], gives: &impl Fn(Index) -> Tri) -> bool {
    fn of(need: &Need, gives: &impl Fn(Index) -> Tri) -> bool {
        let Need::AtLeast(k, members) = need else { return false };
        let left = members.iter().filter(|m| !met(m, gives).fails()).count();
        let lost_slack = (*k as usize) < members.len() && left == *k as usize;
        lost_slack || members.iter().any(|m| of(m, gives))
    }
    !all_met(needs, gives).fails() && needs.iter().any(|n| of(n, gives))
}

/// The supply of every node of a graph.
#[derive(Debug, Clone, Default)]
pub struct Supply {
    own: Vec<Own>,
    has: Vec<Tri>,
    open: BTreeSet<(u32, Index)>,
}

impl Supply {
    /// The supply of a graph nobody knows anything against.
    pub fn new(graph: &Graph) -> Self {
        Self::with(graph, |_| Own::Follows)
    }

    /// The supply of a graph of which `own` tells.
    pub fn with(graph: &Graph, own: impl Fn(Index) -> Own) -> Self {
        let mut supply = Self {
            own: (0..graph.len() as Index).map(own).collect(),
            has: vec![Tri::NO; graph.len()],
            open: BTreeSet::new(),
        };
        let mut order: Vec<Index> = graph.indexes().collect();
        order.sort_by_key(|i| graph.rank(*i));
        let mut last = None;
        for i in order {
            let rank = graph.rank(i);
            if last != Some(rank) {
                supply.settle_rank(graph, rank, i, &mut |_, _| {});
            }
            last = Some(rank);
        }
        supply
    }

    /// Whether what a node needs is there.
    pub fn of(&self, index: Index) -> Tri {
        self.has[index as usize]
    }

    /// What a node gives to those that need it.
    pub fn gives(&self, index: Index) -> Tri {
        self.own[index as usize].given(self.has[index as usize])
    }

    /// What is known of a node itself.
    pub fn own(&self, index: Index) -> Own {
        self.own[index as usize]
    }

    /// The supply of a node by the map alone: what feeds it when it is not taken for granted itself.
    ///
    /// Only in a ring does that differ: a node proven alive there feeds those that feed it.
    pub fn by_the_map(&self, graph: &Graph, index: Index) -> Tri {
        let Some(knot) = graph.knot(graph.rank(index)).filter(|_| self.own(index) == Own::Proven) else {
            return self.of(index);
        };
        let own = |i: Index| if i == index { Own::Follows } else { self.own(i) };
        let has = self.fixpoint(graph, knot, &own);
        has.into_iter().find(|(i, _)| *i == index).map_or(Tri::UNKNOWN, |(_, tri)| tri)
    }

    /// Notes what is known of a node itself. Takes effect with [`Supply::settle`].
    pub fn set(&mut self, graph: &Graph, index: Index, own: Own) {
        let before = self.gives(index);
        self.own[index as usize] = own;
        if self.gives(index) != before || graph.knot(graph.rank(index)).is_some() {
            for &b in graph.below(index) {
                self.open.insert((graph.rank(b), b));
            }
        }
    }

    /// Carries all changes through. `touched(node, changed)` is called for every node below a change,
    /// and says whether its supply is another than before.
    pub fn settle(&mut self, graph: &Graph, touched: &mut impl FnMut(Index, bool)) {
        while let Some((rank, index)) = self.open.pop_first() {
            self.settle_rank(graph, rank, index, touched);
        }
    }

    fn settle_rank(&mut self, graph: &Graph, rank: u32, index: Index, touched: &mut impl FnMut(Index, bool)) {
        match graph.knot(rank) {
            None => {
                let has = all_met(graph.needs(index), &|i| self.gives(i));
                self.move_to(graph, index, has, touched);
            }
            Some(knot) => {
                while self.open.first().is_some_and(|(r, _)| *r == rank) {
                    self.open.pop_first();
                }
                for (i, has) in self.fixpoint(graph, knot, &|i| self.own(i)) {
                    self.move_to(graph, i, has, touched);
                }
                // What moved inside the knot has been seen to; its own members need no second visit.
                while self.open.first().is_some_and(|(r, _)| *r == rank) {
                    self.open.pop_first();
                }
            }
        }
    }

    /// The least fixpoint within one ring: nothing holds until something from outside feeds it.
    fn fixpoint(&self, graph: &Graph, knot: &[Index], own: &impl Fn(Index) -> Own) -> Vec<(Index, Tri)> {
        let mut has = vec![Tri::NO; knot.len()];
        loop {
            let mut moved = false;
            for (at, &i) in knot.iter().enumerate() {
                let gives = |m: Index| match knot.binary_search(&m) {
                    Ok(inside) => own(m).given(has[inside]),
                    Err(_) => self.gives(m),
                };
                let now = all_met(graph.needs(i), &gives);
                moved |= now != has[at];
                has[at] = now;
            }
            if !moved {
                return knot.iter().copied().zip(has).collect();
            }
        }
    }

    fn move_to(&mut self, graph: &Graph, index: Index, has: Tri, touched: &mut impl FnMut(Index, bool)) {
        let (before, changed) = (self.gives(index), self.has[index as usize] != has);
        self.has[index as usize] = has;
        touched(index, changed);
        if changed && self.gives(index) != before {
            for &b in graph.below(index) {
                self.open.insert((graph.rank(b), b));
            }
        }
    }
}
