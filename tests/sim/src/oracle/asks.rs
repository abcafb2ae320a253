//! Whether nobody is asked the same again and again.

use super::Judge;
use events::{Fact, NodeId, Question, SuspicionKind, Time};
use std::collections::{BTreeMap, HashMap, VecDeque};

/// The same may be asked of a node once for each new claim, and so often beside …
const ASKS_MOST: usize = 20;
/// … within so many milliseconds.
const ASKS_WITHIN_MS: i64 = 10_000;

impl Judge<'_> {
    /// Nobody is asked the same thing again and again: a walk looks at each node once, and only what was
    /// asked after a claim can clear an ancestor of it.
    pub(super) fn asks(&mut self) {
        let mut asked: HashMap<(NodeId, u8), VecDeque<Time>> = HashMap::new();
        let mut raised: VecDeque<Time> = VecDeque::new();
        let mut often: BTreeMap<NodeId, u64> = BTreeMap::new();
        let forget = |times: &mut VecDeque<Time>, now: Time| {
            while times.front().is_some_and(|first| now.ms_since(*first) > ASKS_WITHIN_MS) {
                times.pop_front();
            }
        };
        for entry in self.bus.log.iter().filter(|e| e.heard.tenant == self.net.tenant) {
            let now = entry.heard.heard;
            if matches!(&entry.heard.fact, Fact::Suspicion(said) if said.kind == SuspicionKind::Raised) {
                raised.push_back(now);
            }
            let Fact::Ask(ask) = &entry.heard.fact else { continue };
            let what = match &ask.question {
                Question::Reach { .. } => 0,
                Question::PingThrough { .. } => 1,
                Question::Session { .. } => 2,
                Question::RollCall { .. } => 3,
            };
            let times = asked.entry((ask.target, what)).or_default();
            times.push_back(now);
            forget(times, now);
            forget(&mut raised, now);
            if times.len() > ASKS_MOST + raised.len() {
                often.entry(ask.target).or_insert(entry.heard.seq);
            }
        }
        for (node, seq) in often {
            let what = format!(
                "{} was asked the same more than {ASKS_MOST} times within {ASKS_WITHIN_MS} ms, first at seq {seq}",
                self.name_of(node)
            );
            self.fail("asks", what);
        }
    }
}
