//! Who is cut off by what is broken, and what people are told of it.

use crate::{
    graph::{Graph, Index},
    supply::{Own, Supply, at_risk},
};
use events::{Impact, SiteId, SiteImpact, Tier};
use std::collections::{BTreeMap, BTreeSet};

/// How many sites an impact names.
const MOST_SITES: usize = 10;
/// How many plans an impact names.
const MOST_PLANS: usize = 16;

/// Everything below `root` that is not supplied: its blast radius, itself not counted.
pub fn blast(graph: &Graph, supply: &Supply, root: Index) -> BTreeSet<Index> {
    let (mut cut, mut open) = (BTreeSet::new(), vec![root]);
    while let Some(i) = open.pop() {
        for &b in graph.below(i) {
            if b != root && supply.of(b).fails() && cut.insert(b) {
                open.push(b);
            }
        }
    }
    cut
}

/// Nodes that still work but could not lose one more of those they need, because of `broken` or what it cuts off.
pub fn at_risk_of(
    graph: &Graph,
    supply: &Supply,
    broken: &[Index],
    cut: &BTreeSet<Index>,
) -> BTreeSet<Index> {
    let lost = broken.iter().chain(cut);
    let owners =
        lost.flat_map(|i| graph.below(*i)).copied().filter(|b| graph.is_redundant(*b) && !cut.contains(b));
    owners.filter(|b| !broken.contains(b) && at_risk(graph.needs(*b), &|i| supply.gives(i))).collect()
}

/// Counts who is cut off by `broken`.
pub fn impact_of(graph: &Graph, supply: &Supply, broken: &[Index]) -> Impact {
    let mut cut: BTreeSet<Index> = broken.iter().flat_map(|r| blast(graph, supply, *r)).collect();
    for root in broken {
        cut.remove(root);
    }
    let risk = at_risk_of(graph, supply, broken, &cut);
    let mut impact = Impact { at_risk: risk.len() as u32, ..Impact::default() };
    tally(graph, &cut, &mut impact);
    impact
}

/// Counts these by tier, site and plan.
pub fn tally(graph: &Graph, cut: &BTreeSet<Index>, impact: &mut Impact) {
    let mut sites: BTreeMap<SiteId, SiteImpact> = BTreeMap::new();
    let mut plans: BTreeMap<String, u32> = BTreeMap::new();
    for &i in cut {
        let Some(node) = graph.node(i) else { continue };
        *impact.by_tier.entry(node.tier).or_default() += 1;
        let subscriber = node.tier == Tier::Subscriber;
        impact.subscribers += u32::from(subscriber);
        if subscriber && let Some(plan) = &node.plan {
            *plans.entry(plan.clone()).or_default() += 1;
        }
        if let Some(site) = graph.place_of(i) {
            let at = sites.entry(site.id).or_insert_with(|| SiteImpact {
                site: site.id,
                name: site.name.clone(),
                subscribers: 0,
                nodes: 0,
            });
            at.subscribers += u32::from(subscriber);
            at.nodes += 1;
        }
    }
    impact.sites = sites.len() as u32;
    let mut largest: Vec<SiteImpact> = sites.into_values().collect();
    largest.sort_by(|a, b| (b.subscribers, b.nodes, a.site).cmp(&(a.subscribers, a.nodes, b.site)));
    largest.truncate(MOST_SITES);
    impact.largest_sites = largest;
    let mut by_plan: Vec<(String, u32)> = plans.into_iter().collect();
    by_plan.sort_by(|a, b| (b.1, &a.0).cmp(&(a.1, &b.0)));
    by_plan.truncate(MOST_PLANS);
    impact.by_plan = by_plan.into_iter().collect();
}

/// Which of `broken`, repaired alone, would restore somebody: the primary causes.
///
/// With more than eight roots nobody is called primary: the question costs one evaluation each.
pub fn primary_of(graph: &Graph, supply: &Supply, broken: &[Index]) -> Vec<bool> {
    const MOST: usize = 8;
    match broken.len() {
        0 | 1 => vec![true; broken.len()],
        n if n > MOST => vec![false; n],
        _ => {
            let restores = |root: &Index| {
                let mut mended = supply.clone();
                mended.set(graph, *root, Own::Follows);
                let mut restored = false;
                mended.settle(graph, &mut |i, changed| restored |= changed && supply.of(i).fails());
                restored || graph.below(*root).is_empty()
            };
            broken.iter().map(restores).collect()
        }
    }
}

/// A whole number as people read it: `3,150`.
pub fn grouped(n: u32) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(c);
    }
    text
}

/// `1 site`, `10 sites`.
pub fn counted(n: u32, thing: &str) -> String {
    if n == 1 { format!("1 {thing}") } else { format!("{} {thing}s", grouped(n)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_people_write_them() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(3150), "3,150");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(counted(1, "site"), "1 site");
        assert_eq!(counted(10, "site"), "10 sites");
    }
}
