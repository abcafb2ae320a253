//! Edges between nodes, by index.

use super::Index;

/// Of each index some others, laid one behind the other: eight bytes an edge, where vectors of their own
/// take some sixty, in every service that knows the graph.
#[derive(Debug, Default, Clone)]
pub(super) struct Edges {
    /// Where those of each index end.
    ends: Vec<u32>,
    all: Vec<Index>,
}

impl Edges {
    /// Lays down those of the next index.
    pub(super) fn push(&mut self, edges: impl IntoIterator<Item = Index>) {
        self.all.extend(edges);
        self.ends.push(self.all.len() as u32);
    }

    /// The edges of `n` indexes from pairs (from, to); those of one index stay in the order of the pairs.
    pub(super) fn of_pairs(n: usize, pairs: impl Iterator<Item = (Index, Index)> + Clone) -> Self {
        let mut ends = vec![0_u32; n];
        for (from, _) in pairs.clone() {
            ends[from as usize] += 1;
        }
        let mut next = Vec::with_capacity(n);
        let mut so_far = 0;
        for end in &mut ends {
            next.push(so_far);
            so_far += *end;
            *end = so_far;
        }
        let mut all = vec![0; so_far as usize];
        for (from, to) in pairs {
            let place = &mut next[from as usize];
            all[*place as usize] = to;
            *place += 1;
        }
        Self { ends, all }
    }

    /// Those of an index.
    pub(super) fn of(&self, index: Index) -> &[Index] {
        let at = index as usize;
        let begin = if at == 0 { 0 } else { self.ends[at - 1] };
        &self.all[begin as usize..self.ends[at] as usize]
    }

    /// All of them, as (from, to).
    pub(super) fn pairs(&self) -> impl Iterator<Item = (Index, Index)> + Clone + '_ {
        (0..self.ends.len() as Index).flat_map(|from| self.of(from).iter().map(move |to| (from, *to)))
    }

    /// Gives back the room that is not needed.
    pub(super) fn shrink(&mut self) {
        self.ends.shrink_to_fit();
        self.all.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_turned_round_twice_are_the_same() {
        let mut edges = Edges::default();
        for row in [vec![3, 1], vec![], vec![0], vec![0, 2]] {
            edges.push(row);
        }
        let back = Edges::of_pairs(4, edges.pairs().map(|(from, to)| (to, from)));
        assert_eq!(
            (back.of(0), back.of(1), back.of(2), back.of(3)),
            (&[2, 3][..], &[0][..], &[3][..], &[0][..])
        );
        let again = Edges::of_pairs(4, back.pairs().map(|(from, to)| (to, from)));
        assert_eq!((again.of(0), again.of(1), again.of(3)), (&[1, 3][..], &[][..], &[0, 2][..]));
    }
}
