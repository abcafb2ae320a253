//! The judging of one node: what it is believed to be, and what is asked to find out.
//!
//! Nodes are judged with whatever they need first, so a verdict about a root is there before anything
//! below it is looked at. Broken supply explains everything below it; what is alive was seen alive
//! *after* the doubt arose; and only what is observed down while everything it needs is proven alive
//! is broken itself.

use crate::{
    confidence::{Case, THRESHOLD},
    diagnosis::{InFlight, Out, Tenant},
    flapping,
    graph::Index,
    recent::{ClaimHeard, Look, Seen},
    supply::{Own, Supply, Tri, all_met, at_risk},
};
use events::{
    Ask, AskId, Asked, Claim, EventId, Evidence, EvidenceKind, Fact, Flag, Health, HealthKind, HealthSaid,
    Node, NodeHealth, NodeId, Question, Say, SignalSource, Suspicion, SuspicionKind, SuspicionSaid, Tier,
    Time,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// How long a poller may take over a look: three tries within 2 s, and a queue before it.
const LOOK_MS: i64 = 6_000;
/// How long a poller may take over a roll call of a large router.
const ROLL_CALL_MS: i64 = 20_000;
/// After a look that told nothing, the next one waits so long.
const AGAIN_MS: i64 = 2_000;
/// So often something is asked before it is left alone.
const ROUNDS: u32 = 3;
/// An earlier silence may be used for so long (design: 5 s); an earlier sign of life never.
const REUSE_MS: i64 = 5_000;
/// After this a suspicion is settled with what is known.
const BOUND_MS: i64 = 30_000;
/// Looks asked for within so long of each other tell of one moment.
const SAME_MOMENT_MS: i64 = 500;
/// A claim that contradicts what was seen so lately is checked before it is believed.
const CONTRADICTION_MS: i64 = 60_000;
/// What a netwatch entry of 30 s, with its probe's timeout, may take to notice a change.
const NETWATCH_LAG_MS: i64 = 60_000;
/// So many looks through one router are under way at once; the rest waits.
const MOST_THROUGH: usize = 16;
/// From so many suspects below one router on, the router is asked about all at once.
const ROLL_CALL_FROM: u32 = 5;
/// Roots named with one node.
const MOST_ROOTS: usize = 16;
/// Probes asked for one suspicion at once.
const MOST_ASKS: usize = 200;
/// What is down is looked at again after so long, and then twice, four times, … as long, at most 64 times.
const LOOK_AGAIN_MS: i64 = 60_000;

/// Whether an ask is worth while.
#[derive(Clone, Copy)]
enum Want {
    /// Yes, as so many in this matter came before it.
    Ask(u32),
    /// It is under way or must wait a little.
    Wait(Time),
    /// It has been answered.
    Done,
    /// Nobody answered often enough.
    GivenUp,
}

/// What speaks for and against a node.
struct Words<'a> {
    alive: Option<(Time, EventId)>,
    /// When the newest sign of life was heard that nobody had asked for.
    unasked: Option<(Time, EventId)>,
    claim: Option<&'a ClaimHeard>,
    silence: Option<Look>,
}

/// Somebody's word that a node is down, which is to be checked.
#[derive(Clone, Copy)]
struct Accusation {
    /// From when on a sign of life answers it.
    heard: Time,
    /// Since when it is said to be so.
    at: Time,
    source: SignalSource,
    sender: Option<NodeId>,
    event: EventId,
}

impl Words<'_> {
    /// A down claim that no look has answered.
    fn claimed_down(&self) -> Option<&ClaimHeard> {
        let claim = self.claim.filter(|c| c.says == Claim::Down)?;
        self.alive.is_none_or(|(at, _)| at < claim.heard).then_some(claim)
    }

    /// A down claim, or a netwatch entry's state, that no look has answered.
    fn accusation(&self) -> Option<Accusation> {
        let claimed = self.claimed_down().map(|c| Accusation {
            heard: c.heard,
            at: c.at,
            source: c.source,
            sender: c.sender,
            event: c.event,
        });
        claimed.or_else(|| {
            let look = self.silence.filter(|l| l.seen == Seen::NetwatchDown)?;
            Some(Accusation {
                heard: look.asked_at,
                at: look.asked_at,
                source: SignalSource::RollCall,
                sender: None,
                event: look.event,
            })
        })
    }

    /// A claim that it works, well or badly.
    fn praise(&self) -> Option<&ClaimHeard> {
        self.claim.filter(|c| match c.says {
            Claim::Up | Claim::Degraded => true,
            Claim::Down => false,
        })
    }
}

/// What is remembered as asked: what was asked just now, and what was before it and ends after `from`.
///
/// Of each target and kind the newest, [`MOST_ASKS`] at most.
fn still_asked(before: &[Asked], mut newly: Vec<Asked>, from: Time) -> Vec<Asked> {
    for asked in before.iter().filter(|a| a.deadline > from) {
        let again = newly.iter().any(|a| a.target == asked.target && a.roll_call == asked.roll_call);
        if !again && newly.len() < MOST_ASKS {
            newly.push(asked.clone());
        }
    }
    newly
}

impl Tenant {
    fn words(&self, index: Index, tier: Tier, watched: bool) -> Words<'_> {
        let recent = self.recent.of(index);
        let claim = self.recent.standing_claim(index);
        let mut words = Words {
            alive: recent.and_then(super::recent::NodeRecent::alive_at),
            unasked: recent.and_then(|r| {
                r.looks.iter().rev().find(|l| !l.asked && l.seen == Seen::Up).map(|l| (l.heard, l.event))
            }),
            claim,
            silence: recent.and_then(|r| r.silence()).copied(),
        };
        // What a probe of our own found silent is not talked away; a router's old word about a session is.
        let infrastructure = watched || tier <= Tier::Sector;
        if let (Some(silence), Some(praise)) = (words.silence, words.praise())
            && !infrastructure
            && praise.heard > silence.heard.plus_ms(CONTRADICTION_MS)
        {
            words.silence = None;
        }
        // A router's word that a netwatch entry turned up is newer than the table it showed before.
        if let (Some(silence), Some(praise)) = (words.silence, words.praise())
            && silence.seen == Seen::NetwatchDown
            && praise.source == SignalSource::Netwatch
            && praise.heard > silence.heard
        {
            words.silence = None;
        }
        words
    }

    fn case(&self, index: Index, words: &Words<'_>) -> Case {
        let mut case = Case { claims_below: self.claims_against(index), ..Case::default() };
        match words.silence.map(|l| (l.seen, l.event)) {
            Some((Seen::Silent(tries, _), event)) => case.tries = Some((tries, event)),
            Some((Seen::RouterSaysDown, event)) => case.router = Some(event),
            Some((Seen::NetwatchDown, event)) => {
                case.router = Some(event).filter(|_| self.netwatch_is_fresh(index, words));
            }
            Some((Seen::Up | Seen::NetwatchUp | Seen::Nothing | Seen::Told, _)) | None => {}
        }
        case.claimed = words.claimed_down().map(|c| c.event);
        case
    }

    /// Whether a netwatch entry cannot be telling of an outage that is over: nothing above the node has
    /// changed, and itself was not seen alive, for longer than an entry takes to notice.
    fn netwatch_is_fresh(&self, index: Index, words: &Words<'_>) -> bool {
        let Some(look) = words.silence else { return false };
        let before = look.asked_at.plus_ms(-NETWATCH_LAG_MS);
        let seen_alive = words.alive.is_some_and(|(at, _)| at > before);
        let claimed = words.claim.is_some_and(|c| c.heard > before);
        let settled = |a: &Index| match &self.standing[*a as usize].health {
            Some((now, _)) => now.health == Health::Up && now.since <= before,
            None => !self.network.graph.node(*a).is_some_and(|n| n.is_observable()),
        };
        !seen_alive && !claimed && self.network.graph.all_above(index).iter().all(settled)
    }

    /// How many claims below a node speak against it: those of other branches than the one with most of
    /// them, which may be explained by something in that branch.
    fn claims_against(&self, index: Index) -> u32 {
        let all = self.suspects_below[index as usize];
        if all == 0 {
            return 0;
        }
        let of_branch = |b: &Index| {
            let itself = self.standing[*b as usize].suspicion.as_ref().is_some_and(|s| s.sender.is_some());
            self.suspects_below[*b as usize] + u32::from(itself)
        };
        all.saturating_sub(self.network.graph.below(index).iter().map(of_branch).max().unwrap_or(0))
    }

    /// Judges one node: says what follows, asks what is needed.
    pub(crate) fn judge(&mut self, index: Index, out: &mut Out) {
        let Some(node) = self.network.graph.node(index).cloned() else { return };
        if self.calm(index, out) || self.is_a_cause_now(index, out) {
            return;
        }
        match self.believed(index) {
            Some(Health::Up | Health::Degraded) => self.judge_living(index, &node, out),
            None if !node.is_observable() => self.judge_living(index, &node, out),
            Some(Health::Down | Health::Impacted | Health::Unknown) | None => {
                self.judge_lost(index, &node, out);
            }
        }
    }

    /// Has what is flapping judged again when it will be steady. Returns whether it was said to be so just now,
    /// of a node that does not work: of one that works the judging itself says it.
    fn calm(&mut self, index: Index, out: &mut Out) -> bool {
        let standing = &self.standing[index as usize];
        let Some((now, cause)) =
            standing.health.as_ref().filter(|(now, _)| now.flags.contains(&Flag::Flapping))
        else {
            return false;
        };
        if let Some(steady) = now.penalty.map(flapping::steady_at).filter(|at| *at > out.now) {
            self.wakes.insert((steady, index));
            return false;
        }
        // While it is being checked no word of its health is said: that would end the check.
        if matches!(now.health, Health::Up | Health::Degraded) || standing.suspicion.is_some() {
            return false;
        }
        let (mut now, cause) = (now.clone(), *cause);
        now.flags.retain(|flag| *flag != Flag::Flapping);
        now.penalty = flapping::remembered(now.penalty, out.now);
        let what = format!("steady {} {:x}", now.node, crate::digest::digest_of(&now));
        let said = HealthSaid { kind: HealthKind::Noted, now };
        let say = out.say(cause, &what, out.now, Fact::Health(said));
        self.apply(&say);
        self.soil(index);
        true
    }

    /// Has what is down known for what it is by the map of now: a station may have come to serve several while
    /// nothing else was said of it. Returns whether that was said just now.
    fn is_a_cause_now(&mut self, index: Index, out: &mut Out) -> bool {
        let opens_incident = self.network.graph.opens_incidents(index);
        let standing = &self.standing[index as usize];
        let Some((now, cause)) = standing.health.as_ref() else { return false };
        // While it is being checked no word of its health is said: that would end the check.
        let otherwise = now.health == Health::Down && now.opens_incident != opens_incident;
        if !otherwise || standing.suspicion.is_some() {
            return false;
        }
        let (now, cause) = (NodeHealth { opens_incident, ..now.clone() }, *cause);
        let what = format!("a cause {} {:x}", now.node, crate::digest::digest_of(&now));
        let say = out.say(cause, &what, out.now, Fact::Health(HealthSaid { kind: HealthKind::Noted, now }));
        self.apply(&say);
        self.soil(index);
        true
    }

    /// Whether a node that was so far said to be flapping, or not, is flapping now.
    fn is_flapping(&self, index: Index, now: Time) -> bool {
        self.standing[index as usize].health.as_ref().is_some_and(|(before, _)| {
            flapping::is_flapping(before.penalty, before.flags.contains(&Flag::Flapping), now)
        })
    }

    fn since(&self, index: Index) -> Time {
        self.standing[index as usize].health.as_ref().map_or(Time::EPOCH, |(now, _)| now.since)
    }

    /// A node believed to work, or that nothing can look at and nothing was said of.
    fn judge_living(&mut self, index: Index, node: &Arc<Node>, out: &mut Out) {
        let words = self.words(index, node.tier, node.watch.is_some());
        let supply = self.supply.by_the_map(&self.network.graph, index);
        let alive = words.alive;
        if supply.fails() {
            let roots = self.roots_by_the_map(index);
            let broke_at = self.broke_at(index, &roots);
            let proven = alive.is_some_and(|(at, _)| at >= broke_at) && words.silence.is_none();
            if !proven {
                self.cut_off(index, node, &roots, out);
                return;
            }
        }
        // A silence from before it was believed to work was weighed when that was decided.
        let weighed = self.since(index).plus_ms(-REUSE_MS);
        let is_new = words.silence.is_some_and(|s| s.asked_at >= weighed);
        let accused = words.accusation().is_some()
            || (is_new && self.case(index, &words).weight(node.tier) >= THRESHOLD);
        if accused {
            self.walk(index, node, None, out);
            return;
        }
        if let Some(turn) = self.turn_that_came(index, &words) {
            self.walk(index, node, Some(turn), out);
            return;
        }
        let health = match words.praise().map(|c| c.says) {
            Some(Claim::Degraded) => Health::Degraded,
            Some(Claim::Up | Claim::Down) => Health::Up,
            None => self.believed(index).unwrap_or(Health::Up),
        };
        let cause = words.claim.map(|c| c.event).or(alive.map(|(_, e)| e));
        self.settle_living(index, node, health, cause, out);
    }

    /// These roots cut a node off, unless one of them is back: what was found down before is looked at
    /// again before it is held to cut anybody off together with what fell only now.
    fn cut_off(&mut self, index: Index, node: &Arc<Node>, roots: &[Index], out: &mut Out) {
        if self.believed(index) != Some(Health::Impacted) {
            let broke_at = roots.iter().map(|r| self.since(*r)).max().unwrap_or(Time::EPOCH);
            let before = broke_at.plus_ms(-REUSE_MS);
            let old: Vec<Index> = roots.iter().copied().filter(|r| self.since(*r) < before).collect();
            if !self.are_seen_to(index, old, broke_at, out) {
                return;
            }
        }
        self.say_impacted(index, node, roots, out);
    }

    /// Says what is believed of a node that works, if that is news.
    fn settle_living(
        &mut self,
        index: Index,
        node: &Arc<Node>,
        health: Health,
        cause: Option<EventId>,
        out: &mut Out,
    ) {
        let mut flags = Vec::new();
        if self.is_flapping(index, out.now) {
            flags.push(Flag::Flapping);
        }
        if self.network.graph.is_redundant(index)
            && at_risk(self.network.graph.needs(index), &|i| self.supply.gives(i))
        {
            flags.push(Flag::AtRisk);
        }
        if self.supply.by_the_map(&self.network.graph, index).fails() {
            flags.push(Flag::MapDisagrees);
        }
        let before = self.standing[index as usize].health.as_ref();
        let news = match before {
            Some((now, _)) => now.health != health || now.flags != flags,
            None => node.is_observable() || !flags.is_empty(),
        };
        if news {
            let cause = cause.or(before.map(|(_, e)| *e)).unwrap_or_else(|| self.origin(node));
            self.say_health(index, health, cause, out, |now| now.flags = flags);
        } else {
            self.settle_suspicion(index, out);
        }
        self.call_the_roll(index, node, out);
    }

    /// Ends what was being checked of a node, when nothing else is said of it.
    fn settle_suspicion(&mut self, index: Index, out: &mut Out) {
        let Some(suspicion) = self.standing[index as usize].suspicion.clone() else { return };
        let said = SuspicionSaid {
            kind: SuspicionKind::Settled,
            now: Suspicion { asked: Vec::new(), ..*suspicion },
        };
        let (claim, node) = (said.now.claim, said.now.node);
        let say = out.say(claim, &format!("settled {node}"), out.now, Fact::Suspicion(said));
        self.apply(&say);
    }

    /// A router that is up and sees nodes of which nothing is known is asked about them.
    fn call_the_roll(&mut self, router: Index, node: &Arc<Node>, out: &mut Out) {
        if node.login.is_none()
            || self.network.graph.sees(router).is_empty()
            || !self.supply_is_usable(router)
        {
            return;
        }
        let unknown = |i: &Index| match self.believed(*i) {
            None | Some(Health::Unknown) => true,
            Some(Health::Impacted) => !self.supply.of(*i).fails(),
            Some(Health::Up | Health::Down | Health::Degraded) => false,
        };
        if !self.network.graph.sees(router).iter().any(unknown) {
            return;
        }
        let since = self.since(router).max(self.network.revised_at);
        match self.want(router, true, since, out.now) {
            Want::Ask(round) => self.check(router, Question::RollCall { whole: true }, round, out),
            Want::Wait(at) => {
                self.wakes.insert((at, router));
            }
            Want::Done | Want::GivenUp => {}
        }
    }

    fn supply_is_usable(&self, router: Index) -> bool {
        !self.supply.of(router).fails() && self.believed(router) == Some(Health::Up)
    }

    /// A node believed not to work, or of which nothing is known.
    fn judge_lost(&mut self, index: Index, node: &Arc<Node>, out: &mut Out) {
        let (belief, since, supply) = (self.believed(index), self.since(index), self.supply.of(index));
        let words = self.words(index, node.tier, node.watch.is_some());
        let fresh =
            words.alive.filter(|(at, _)| *at >= since).or(words.unasked.filter(|(heard, _)| *heard > since));
        if let Some((at, event)) = fresh.filter(|_| words.silence.is_none()) {
            if !supply.fails() || self.roots_are_seen_to(index, at, out) {
                self.say_up(index, node, event, out);
            }
            return;
        }
        let praise = words.praise().filter(|c| c.heard > since);
        let void = |c: &&ClaimHeard| words.silence.is_some_and(|s| s.asked_at >= c.heard);
        if let Some((heard, event, says)) = praise.filter(|c| !void(c)).map(|c| (c.heard, c.event, c.says)) {
            let unsure = words.claim.is_some_and(|c| c.seq.is_none()) || words.silence.is_some();
            let check = node.watch.is_some() || (node.tier <= Tier::Sector && node.is_observable()) || unsure;
            self.hear_praise(index, node, heard, event, says, check, out);
            return;
        }
        if supply.fails() {
            let roots = self.roots_of(index);
            self.cut_off(index, node, &roots, out);
            return;
        }
        match belief {
            Some(Health::Impacted) => self.judge_recovering(index, node, out),
            Some(Health::Down) => self.look_again(index, node, out),
            Some(Health::Unknown) | None => {
                let accused = words.accusation().is_some_and(|c| c.heard > since)
                    || (self.case(index, &words).weight(node.tier) >= THRESHOLD
                        && words.silence.is_some_and(|s| s.asked_at >= since));
                if accused {
                    self.walk(index, node, None, out);
                } else if let Some(turn) = self.turn_that_came(index, &words) {
                    self.walk(index, node, Some(turn), out);
                } else if belief == Some(Health::Unknown) {
                    self.look_again(index, node, out);
                } else if let Some(router) = self.router_of(node)
                    && self.believed(router) == Some(Health::Up)
                    && let Some(said) = self.network.graph.node(router).cloned()
                {
                    self.call_the_roll(router, &said, out);
                }
            }
            Some(Health::Up | Health::Degraded) => {}
        }
    }

    /// Somebody says that it works although it was believed not to.
    #[allow(clippy::too_many_arguments, reason = "one claim, taken apart")]
    fn hear_praise(
        &mut self,
        index: Index,
        node: &Arc<Node>,
        heard: Time,
        event: EventId,
        says: Claim,
        check: bool,
        out: &mut Out,
    ) {
        let supply = self.supply.of(index);
        if !supply.holds() {
            let seen_to = self.roots_are_seen_to(index, heard, out);
            if supply.fails() {
                let roots = self.roots_of(index);
                self.say_impacted(index, node, &roots, out);
                return;
            }
            if !seen_to {
                return;
            }
        }
        if check && let Some((question, target)) = self.question(index, node, heard) {
            let roll_call = matches!(question, Question::RollCall { .. });
            match self.want_after(target, roll_call, heard, out.now) {
                Want::Ask(round) => {
                    self.await_look(target, index);
                    self.check_for(index, target, question, round, out);
                    return;
                }
                Want::Wait(at) => {
                    self.await_look(target, index);
                    self.wakes.insert((at, index));
                    return;
                }
                // Nothing was found against it.
                Want::Done | Want::GivenUp => {}
            }
        }
        if says == Claim::Degraded {
            self.say_health(index, Health::Degraded, event, out, |_| {});
        } else {
            self.say_up(index, node, event, out);
        }
    }

    /// Whether what keeps a node from being supplied was looked at after `since`; asks for it otherwise.
    fn roots_are_seen_to(&mut self, index: Index, since: Time, out: &mut Out) -> bool {
        let frontier = self.frontier_of(index);
        self.are_seen_to(index, frontier, since, out)
    }

    /// Whether these were looked at after `since`; asks for it otherwise, and has `index` judged again then.
    fn are_seen_to(
        &mut self,
        index: Index,
        these: impl IntoIterator<Item = Index>,
        since: Time,
        out: &mut Out,
    ) -> bool {
        let mut seen_to = true;
        for root in these {
            let Some(node) = self.network.graph.node(root).cloned() else { continue };
            let Some((question, target)) = self.question(root, &node, since) else { continue };
            let roll_call = matches!(question, Question::RollCall { .. });
            match self.want(target, roll_call, since, out.now) {
                Want::Ask(round) => {
                    seen_to = false;
                    self.await_look(target, index);
                    self.await_look(root, index);
                    self.check_for(root, target, question, round, out);
                }
                Want::Wait(at) => {
                    seen_to = false;
                    self.await_look(target, index);
                    self.await_look(root, index);
                    self.wakes.insert((at, index));
                }
                Want::Done | Want::GivenUp => {}
            }
        }
        seen_to
    }

    /// Its root is back. Nothing is said of it until it is heard of, or the hold is over; then it is walked again.
    fn judge_recovering(&mut self, index: Index, node: &Arc<Node>, out: &mut Out) {
        let supply = self.supply.of(index);
        if !node.is_observable() {
            if supply.holds() {
                let cause = self.standing[index as usize].health.as_ref().map(|(_, e)| *e);
                self.say_up(index, node, cause.unwrap_or_else(|| self.origin(node)), out);
            }
            return;
        }
        if !supply.holds() {
            return;
        }
        let back_at = self.back_at(index);
        let over = back_at.plus_ms(i64::from(self.network.policy.recover_hold_ms));
        if out.now >= over {
            self.walk(index, node, Some(over), out);
            return;
        }
        self.wakes.insert((over, index));
        if node.tier > Tier::Sector {
            self.call_the_roll_for(index, node, back_at, over, out);
            return;
        }
        if let Some((question, target)) = self.question(index, node, back_at) {
            let roll_call = matches!(question, Question::RollCall { .. });
            match self.want(target, roll_call, back_at, out.now) {
                Want::Ask(round) => {
                    self.await_look(target, index);
                    self.check_for(index, target, question, round, out);
                }
                Want::Wait(at) => {
                    self.await_look(target, index);
                    self.wakes.insert((at, index));
                }
                Want::Done | Want::GivenUp => {}
            }
        }
    }

    /// Whoever is cut off no longer and has not been heard of since may have been back before its router
    /// noticed that it was away, or its word was lost. Its router is asked about all it sees: at once, and
    /// once more when it has had the time to see who came back, if anything is missing still.
    fn call_the_roll_for(
        &mut self,
        index: Index,
        node: &Arc<Node>,
        back_at: Time,
        over: Time,
        out: &mut Out,
    ) {
        let Some(router) = self.router_of(node).filter(|router| self.supply_is_usable(*router)) else {
            return;
        };
        if self.network.graph.node(router).is_none_or(|n| n.login.is_none()) {
            return;
        }
        let back_at = back_at.max(self.since(router));
        let blind_ms = i64::from(self.network.policy.blind_after_boot_ms);
        let booted = self.recent.of(router).and_then(|r| r.booted);
        let sees_from =
            booted.map(|(at, told)| (at.plus_ms(blind_ms), told)).filter(|(from, told)| told < from);
        let ripe_at = back_at.plus_ms(NETWATCH_LAG_MS).max(sees_from.map_or(back_at, |(from, _)| from));
        if out.now < ripe_at && ripe_at < over {
            self.wakes.insert((ripe_at, index));
        }
        let since = if out.now < ripe_at { back_at } else { ripe_at };
        match self.want(router, true, since, out.now) {
            Want::Ask(round) => {
                self.await_look(router, index);
                self.check(router, Question::RollCall { whole: true }, round, out);
            }
            Want::Wait(at) => {
                self.await_look(router, index);
                self.wakes.insert((at, index));
            }
            Want::Done | Want::GivenUp => {}
        }
    }

    /// Since when those that cut it off are back.
    fn back_at(&self, index: Index) -> Time {
        let Some((now, _)) = &self.standing[index as usize].health else { return Time::EPOCH };
        let roots = now.roots.iter().filter_map(|id| self.network.graph.index_of(*id));
        roots.map(|r| self.since(r)).max().unwrap_or(now.since).max(now.since)
    }

    /// What is down and cannot say itself that it is back is looked at again, ever more rarely.
    fn look_again(&mut self, index: Index, node: &Arc<Node>, out: &mut Out) {
        if node.tier > Tier::Sector || !node.is_observable() {
            return;
        }
        let since = self.since(index);
        let mut step = LOOK_AGAIN_MS;
        let mut due = since.plus_ms(step);
        let mut next = due;
        while next <= out.now {
            due = next;
            step = (step * 2).min(LOOK_AGAIN_MS * 64);
            next = due.plus_ms(step);
        }
        self.wakes.insert((next, index));
        if due > out.now {
            return;
        }
        let Some((question, target)) = self.question(index, node, due) else { return };
        let roll_call = matches!(question, Question::RollCall { .. });
        if let Want::Ask(round) = self.want(target, roll_call, due, out.now)
            && round == 0
        {
            self.check_for(index, target, question, round, out);
        }
    }

    /// The walk: from a suspect up through everything it needs.
    ///
    /// `from`: it is suspected because nobody has heard of it until then, not because of a claim.
    fn walk(&mut self, index: Index, node: &Arc<Node>, from: Option<Time>, out: &mut Out) {
        let words = self.words(index, node.tier, node.watch.is_some());
        let case = self.case(index, &words);
        let claim = words.accusation();
        let silence = words.silence.filter(|l| l.seen != Seen::NetwatchDown || case.router.is_some());
        let doubt_from = match (&claim, from) {
            (Some(c), None) => c.heard,
            (_, Some(from)) => from,
            (None, None) => silence.map_or(out.now, |s| s.asked_at),
        };
        // A silence nobody asked for began at an unknown moment, perhaps before what it needs came back.
        let stands_alone = self.network.graph.above(index).is_empty();
        let reuse_ms = if from.is_some() { 0 } else { REUSE_MS };
        let usable = silence
            .filter(|s| s.asked || stands_alone)
            .filter(|s| s.asked_at >= doubt_from.plus_ms(-reuse_ms) && case.weight(node.tier) >= THRESHOLD);
        // What it needs must have been seen alive in the moment its own silence began: neither before the
        // doubt arose, when it may have been another matter, nor later, when it may have just come back.
        let since = usable
            .map_or(doubt_from, |s| s.asked_at.plus_ms(-SAME_MOMENT_MS).max(doubt_from.min(s.asked_at)));
        let supply = self.supply_seen(index, since, usable.map(|s| s.asked_at));
        let confirmed = usable.is_some();
        let own_question = self.question(index, node, since);
        // What was there when the silence began may have died while it lasted: it is looked at once more.
        let last_try_at = usable.filter(|_| supply.holds()).and_then(|s| s.unanswered_at());
        let still = last_try_at.map_or(supply, |at| self.supply_seen(index, at, None));
        // When the looks at both are in and lie too far apart, both are looked at again, together.
        let again_together = confirmed && !supply.holds() && !self.awaits_any(index, since, out.now);
        let ask_since = if again_together { out.now } else { last_try_at.unwrap_or(since) };
        let unaskable = own_question.is_none() && !self.waits_for_router(node) && claim.is_some();
        let cause = silence.map(|s| s.event).or(claim.as_ref().map(|c| c.event));
        let cause = cause.or(self.standing[index as usize].health.as_ref().map(|(_, e)| *e));
        let cause = cause.unwrap_or_else(|| self.origin(node));
        if supply.holds() && still.holds() && (confirmed || unaskable) {
            let evidence = case.evidence(node.tier, true);
            self.say_down(index, cause, claim.as_ref().map(|c| c.at), evidence, out);
            return;
        }
        let open = self.standing[index as usize].suspicion.clone();
        let held_until = match &open {
            Some(open) => open.held_until,
            None => self.turn_of(node, out.now),
        };
        let fresh = Suspicion {
            node: node.id,
            since: out.now,
            source: claim.as_ref().map_or(SignalSource::Heartbeat, |c| c.source),
            sender: claim.as_ref().and_then(|c| c.sender),
            claim: cause,
            asked: Vec::new(),
            held_until,
        };
        if let Some(until) = held_until.filter(|until| *until > out.now) {
            self.wakes.insert((until, index));
            if open.is_none() {
                let at = claim.as_ref().map(|c| c.at);
                let say = say_suspicion(SuspicionKind::Raised, fresh, at, cause, out);
                self.apply(&say);
                self.dirty.remove(&(self.network.graph.rank(index), index));
            }
            return;
        }
        let began = open.as_ref().map_or(out.now, |s| s.walks_from());
        if out.now >= began.plus_ms(BOUND_MS) {
            if confirmed {
                let mut evidence = case.evidence(node.tier, false);
                evidence.push(Evidence {
                    kind: EvidenceKind::Undetermined,
                    count: 1,
                    weight: 0,
                    event: None,
                });
                self.say_down(index, cause, claim.as_ref().map(|c| c.at), evidence, out);
            } else {
                self.say_health(index, Health::Unknown, cause, out, |now| {
                    now.at = claim.as_ref().map(|c| c.at);
                });
            }
            return;
        }
        // What is cut off as far as was seen is not asked whether it is broken too.
        let itself = !confirmed && !supply.fails();
        let (asks, again) = self.asks_of_walk(
            index,
            node,
            ask_since,
            (itself || again_together, again_together),
            own_question,
            out,
        );
        self.wakes.insert((again.unwrap_or(began.plus_ms(BOUND_MS)).min(began.plus_ms(BOUND_MS)), index));
        let raised = open.is_none();
        if !raised && asks.is_empty() {
            return;
        }
        let mut now = open.map_or(fresh, |open| *open);
        let newly = asks.iter().map(|(_, asked)| asked.clone()).collect();
        now.asked = still_asked(&now.asked, newly, now.since);
        let kind = if raised { SuspicionKind::Raised } else { SuspicionKind::Pursued };
        let say = say_suspicion(kind, now, claim.as_ref().map(|c| c.at), cause, out);
        for (ask, _) in asks {
            out.say(cause, &format!("ask {}", ask.id), out.now, Fact::Ask(ask));
        }
        self.apply(&say);
        self.dirty.remove(&(self.network.graph.rank(index), index));
    }

    /// Until when a new suspicion has to wait for its walk: the tenant's quota. What the server watches itself,
    /// and what much hangs on, never waits.
    fn turn_of(&self, node: &Node, now: Time) -> Option<Time> {
        if node.watch.is_some() || node.tier <= Tier::Site {
            return None;
        }
        let turn = self.walks.next(now, self.network.policy.walks_per_hour);
        (turn > now).then_some(turn)
    }

    /// The turn of a suspicion that had to wait, when nothing was heard since that settles it. The claim itself
    /// may be forgotten by then.
    fn turn_that_came(&self, index: Index, words: &Words<'_>) -> Option<Time> {
        let turn = self.standing[index as usize].suspicion.as_ref()?.held_until?;
        let is_seen = words.alive.is_some_and(|(at, _)| at >= turn);
        (!is_seen && words.praise().is_none()).then_some(turn)
    }

    /// What to ask for a suspect: the whole way up at once, each node once, and then itself; or all of
    /// them together.
    fn asks_of_walk(
        &mut self,
        index: Index,
        node: &Arc<Node>,
        since: Time,
        (itself, together): (bool, bool),
        own: Option<(Question, Index)>,
        out: &mut Out,
    ) -> (Vec<(Ask, Asked)>, Option<Time>) {
        let mut wanted: Vec<(Index, Question, Index)> = Vec::new();
        let mut again = None::<Time>;
        for above in self.unproven_above(index, since) {
            let Some(n) = self.network.graph.node(above).cloned() else { continue };
            if let Some((question, target)) = self.question(above, &n, since) {
                wanted.push((above, question, target));
            }
        }
        if let Some(router) = self.router_of(node)
            && !wanted.iter().any(|(i, ..)| *i == router)
            && self
                .recent
                .of(router)
                .and_then(super::recent::NodeRecent::alive_at)
                .is_none_or(|(at, _)| at < since)
            && let Some(n) = self.network.graph.node(router).cloned()
            && let Some((question, target)) = self.question(router, &n, since)
        {
            wanted.push((router, question, target));
        }
        // As long as anything above may explain it, the suspect itself is not asked.
        let open = |(_, question, target): &(Index, Question, Index)| {
            let roll_call = matches!(question, Question::RollCall { .. });
            match self.want(*target, roll_call, since, out.now) {
                Want::Ask(_) | Want::Wait(_) => true,
                Want::Done | Want::GivenUp => false,
            }
        };
        let itself = itself && (together || !wanted.iter().any(open));
        let crowded = itself
            && matches!(own, Some((Question::PingThrough { .. } | Question::Session { .. }, _)))
            && self.router_of(node).is_some_and(|router| self.is_crowded(router, out.now));
        if crowded {
            again = Some(out.now.plus_ms(AGAIN_MS));
        } else if itself && let Some((question, target)) = own {
            wanted.push((index, question, target));
        }
        let mut asks = Vec::new();
        for (about, question, target) in wanted {
            let roll_call = matches!(question, Question::RollCall { .. });
            if roll_call
                && asks.iter().any(|(_, a): &(Ask, Asked)| a.roll_call && Some(a.target) == self.id(target))
            {
                continue;
            }
            match self.want(target, roll_call, since, out.now) {
                Want::Ask(round) => {
                    if asks.len() >= MOST_ASKS || asks.len() + 2 > out.left() {
                        again = Some(out.now);
                        self.soil_later(index);
                        break;
                    }
                    let (ask, asked) = self.ask(target, question, round, self.origin(node), out.now);
                    again = Some(again.map_or(asked.deadline, |a| a.min(asked.deadline)));
                    asks.push((ask, asked));
                    self.await_look(about, index);
                    self.await_look(target, index);
                }
                Want::Wait(at) => {
                    again = Some(again.map_or(at, |a| a.min(at)));
                    self.await_look(about, index);
                    self.await_look(target, index);
                }
                Want::Done | Want::GivenUp => {}
            }
        }
        (asks, again)
    }

    /// Whether a look at anything it needs is still under way.
    fn awaits_any(&self, index: Index, since: Time, now: Time) -> bool {
        self.unproven_above(index, since).into_iter().any(|a| {
            [false, true].into_iter().any(|roll_call| {
                self.in_flight.get(&(a, roll_call)).is_some_and(|asked| {
                    let ended = self.recent.of(a).and_then(|r| r.ended_since(asked.at, roll_call));
                    asked.at >= since && now < asked.deadline && ended.is_none()
                })
            })
        })
    }

    /// Whether as many looks as it may have go through a router already.
    fn is_crowded(&self, router: Index, now: Time) -> bool {
        let under_way = |i: &&Index| {
            let Some(asked) = self.in_flight.get(&(**i, false)) else { return false };
            now < asked.deadline
                && self.recent.of(**i).is_none_or(|r| r.ended_since(asked.at, false).is_none())
        };
        let many = self.suspects_seen[router as usize] >= ROLL_CALL_FROM;
        many && self.network.graph.sees(router).iter().filter(under_way).nth(MOST_THROUGH - 1).is_some()
    }

    fn soil_later(&mut self, index: Index) {
        self.wakes.insert((Time::EPOCH, index));
    }

    fn id(&self, index: Index) -> Option<NodeId> {
        self.network.graph.node(index).map(|n| n.id)
    }

    fn router_of(&self, node: &Node) -> Option<Index> {
        node.seen_by.and_then(|id| self.network.graph.index_of(id))
    }

    fn await_look(&mut self, at: Index, suspect: Index) {
        if at != suspect {
            self.waiting.entry(at).or_default().insert(suspect);
        }
    }

    /// The observable nodes above that are not proven alive since then, as far as it still matters.
    fn unproven_above(&self, index: Index, since: Time) -> BTreeSet<Index> {
        let (mut found, mut seen) = (BTreeSet::new(), BTreeSet::new());
        let mut open: Vec<Index> = self.network.graph.above(index).to_vec();
        while let Some(i) = open.pop() {
            if i == index
                || !seen.insert(i)
                || self.is_alive_since(i, since)
                || self.believed(i) == Some(Health::Down)
            {
                continue;
            }
            if self.network.graph.node(i).is_some_and(|n| n.is_observable()) {
                found.insert(i);
            }
            open.extend(self.network.graph.above(i));
        }
        found
    }

    fn is_alive_since(&self, index: Index, since: Time) -> bool {
        self.recent.of(index).and_then(super::recent::NodeRecent::alive_at).is_some_and(|(at, _)| at >= since)
    }

    /// The supply of a suspect as far as it was seen after the doubt arose: an older sign of life is none,
    /// nor is one from after `until`.
    fn supply_seen(&self, index: Index, since: Time, until: Option<Time>) -> Tri {
        let mut above: Vec<Index> = self.network.graph.all_above(index).into_iter().collect();
        above.sort_by_key(|i| (self.network.graph.rank(*i), *i));
        let own: BTreeMap<Index, Own> = above.iter().map(|i| (*i, self.own_seen(*i, since, until))).collect();
        let mut has: BTreeMap<Index, Tri> = above.iter().map(|i| (*i, Tri::NO)).collect();
        loop {
            let mut moved = false;
            for &i in &above {
                let gives = |m: Index| own.get(&m).map_or(Tri::UNKNOWN, |o| o.given(has[&m]));
                let now = all_met(self.network.graph.needs(i), &gives);
                if has[&i] != now {
                    has.insert(i, now);
                    moved = true;
                }
            }
            if !moved {
                break;
            }
        }
        all_met(self.network.graph.needs(index), &|m| own.get(&m).map_or(Tri::UNKNOWN, |o| o.given(has[&m])))
    }

    fn own_seen(&self, index: Index, since: Time, until: Option<Time>) -> Own {
        if self.believed(index) == Some(Health::Down) {
            return Own::Broken;
        }
        if self.recent.of(index).is_some_and(|r| r.is_alive_between(since, until)) {
            return Own::Proven;
        }
        let Some(node) = self.network.graph.node(index) else { return Own::Follows };
        if !node.is_observable() {
            return Own::Follows;
        }
        let words = self.words(index, node.tier, node.watch.is_some());
        let silent = words.silence.is_some_and(|s| s.asked_at >= since.plus_ms(-REUSE_MS));
        if silent && self.case(index, &words).weight(node.tier) >= THRESHOLD {
            Own::Broken
        } else {
            Own::Doubtful
        }
    }

    /// Whether its router is to be seen alive first, before it is asked about all it sees.
    fn waits_for_router(&self, node: &Node) -> bool {
        self.router_of(node).is_some()
    }

    /// How to look at a node, and whom that asks.
    fn question(&self, index: Index, node: &Node, since: Time) -> Option<(Question, Index)> {
        if let Some(watch) = node.watch {
            return Some((Question::Reach { probe: watch.probe }, index));
        }
        let router = self.router_of(node)?;
        let told = self.recent.of(router).is_some_and(|r| r.ended_since(since, true) == Some(Seen::Told));
        if self.suspects_seen[router as usize] >= ROLL_CALL_FROM && !told {
            return self
                .is_alive_since(router, since)
                .then_some((Question::RollCall { whole: true }, router));
        }
        let id = self.id(router)?;
        if node.address.is_some() {
            Some((Question::PingThrough { router: id }, index))
        } else if !node.claims.is_empty() {
            Some((Question::Session { router: id, keys: node.claims.clone() }, index))
        } else {
            (!told).then_some((Question::RollCall { whole: true }, router))
        }
    }

    /// Whether to ask that target again in a matter that arose at `since`.
    fn want(&self, target: Index, roll_call: bool, since: Time, now: Time) -> Want {
        let Some(&InFlight { at, deadline, round }) = self.in_flight.get(&(target, roll_call)) else {
            return Want::Ask(0);
        };
        let ended = self.recent.of(target).and_then(|r| r.ended_since(at, roll_call));
        // Whoever answers at once is not asked as fast as it answers.
        let anew = if now < at.plus_ms(AGAIN_MS) { Want::Wait(at.plus_ms(AGAIN_MS)) } else { Want::Ask(0) };
        let next = |round: u32| match at >= since {
            false => anew,
            true if round + 1 >= ROUNDS => Want::GivenUp,
            true if now < at.plus_ms(AGAIN_MS) => Want::Wait(at.plus_ms(AGAIN_MS)),
            true => Want::Ask(round + 1),
        };
        match ended {
            None if now < deadline => Want::Wait(deadline),
            None | Some(Seen::Nothing) => next(round),
            Some(Seen::Up | Seen::Told) if at >= since => Want::Done,
            Some(Seen::Silent(..) | Seen::RouterSaysDown | Seen::NetwatchDown)
                if at >= since.plus_ms(-REUSE_MS) =>
            {
                Want::Done
            }
            Some(
                Seen::Up
                | Seen::NetwatchUp
                | Seen::Told
                | Seen::Silent(..)
                | Seen::RouterSaysDown
                | Seen::NetwatchDown,
            ) => anew,
        }
    }

    /// Whether to ask that target in a matter that arose at `since`, about which an earlier silence tells nothing.
    fn want_after(&self, target: Index, roll_call: bool, since: Time, now: Time) -> Want {
        let asked_at = self.in_flight.get(&(target, roll_call)).map_or(since, |asked| asked.at);
        match self.want(target, roll_call, since, now) {
            Want::Done if asked_at < since => match asked_at.plus_ms(AGAIN_MS) {
                again if now < again => Want::Wait(again),
                _ => Want::Ask(0),
            },
            want => want,
        }
    }

    fn ask(&self, target: Index, question: Question, round: u32, cause: EventId, now: Time) -> (Ask, Asked) {
        let node = self.network.graph.node(target).expect("what is asked about exists");
        let roll_call = matches!(question, Question::RollCall { .. });
        let deadline = now.plus_ms(if roll_call { ROLL_CALL_MS } else { LOOK_MS });
        let id =
            AskId::of(EventId::following(cause, "ask", &now.us().to_string()), node.id, u32::from(roll_call));
        let asked = Asked { id, target: node.id, at: now, deadline, round, roll_call };
        (Ask { id, target: node.id, target_kind: node.kind, question, at: now, deadline }, asked)
    }

    /// Asks about a node itself, and notes that with its health.
    fn check(&mut self, index: Index, question: Question, round: u32, out: &mut Out) {
        self.check_for(index, index, question, round, out);
    }

    fn check_for(&mut self, index: Index, target: Index, question: Question, round: u32, out: &mut Out) {
        if out.left() < 2 {
            self.soil_later(index);
            return;
        }
        let Some(node) = self.network.graph.node(index).cloned() else { return };
        let (ask, asked) = self.ask(target, question, round, self.origin(&node), out.now);
        // While it is being checked, what is asked belongs to the suspicion: word of its health would end that.
        if let Some(open) = self.standing[index as usize].suspicion.clone() {
            let (claim, at) = (open.claim, open.since);
            let asked = still_asked(&open.asked, vec![asked], at);
            let said = SuspicionSaid { kind: SuspicionKind::Pursued, now: Suspicion { asked, ..*open } };
            let what = format!("suspicion {} {:x}", node.id, crate::digest::digest_of(&said.now));
            let say = out.say(claim, &what, at, Fact::Suspicion(said));
            out.say(claim, &format!("ask {}", ask.id), out.now, Fact::Ask(ask));
            self.apply(&say);
            return;
        }
        let standing = self.standing[index as usize].health.clone();
        let (mut now, cause) = standing.unwrap_or_else(|| {
            (
                NodeHealth {
                    node: node.id,
                    health: Health::Unknown,
                    flags: Vec::new(),
                    since: out.now,
                    at: None,
                    roots: Vec::new(),
                    evidence: Vec::new(),
                    asked: Vec::new(),
                    opens_incident: false,
                    penalty: None,
                },
                self.origin(&node),
            )
        });
        now.asked = still_asked(&now.asked, vec![asked], out.now);
        let said = HealthSaid { kind: HealthKind::Noted, now };
        let what = format!("asked {} {:x}", node.id, crate::digest::digest_of(&said.now));
        let say = out.say(cause, &what, out.now, Fact::Health(said));
        out.say(cause, &format!("ask {}", ask.id), out.now, Fact::Ask(ask));
        self.apply(&say);
    }

    /// When the supply of a node last broke: a root may be down for long, and what is between it and the node
    /// may have worked in spite of it until a moment ago.
    fn broke_at(&self, index: Index, roots: &[Index]) -> Time {
        let mut last = roots.iter().map(|r| self.since(*r)).max().unwrap_or(Time::EPOCH);
        let (mut seen, mut open) = (BTreeSet::from([index]), vec![index]);
        while let Some(i) = open.pop() {
            for &m in self.network.graph.above(i) {
                let stands = matches!(self.believed(m), Some(Health::Up | Health::Degraded) | None);
                if stands || !self.supply.gives(m).fails() || !seen.insert(m) {
                    continue;
                }
                last = last.max(self.since(m));
                if self.believed(m) != Some(Health::Down) {
                    open.push(m);
                }
            }
        }
        last
    }

    /// The roots that cut a node off when it is not taken for granted itself: in a ring, what is proven alive
    /// feeds those that feed it, and nothing above it seems broken.
    fn roots_by_the_map(&self, index: Index) -> Vec<Index> {
        let graph = &self.network.graph;
        if self.supply.own(index) != Own::Proven || graph.knot(graph.rank(index)).is_none() {
            return self.roots_of(index);
        }
        let mut supply = self.supply.clone();
        supply.set(graph, index, Own::Follows);
        supply.settle(graph, &mut |_, _| {});
        self.roots_with(&supply, index)
    }

    /// All nodes believed down on any broken way up.
    fn roots_of(&self, index: Index) -> Vec<Index> {
        self.roots_with(&self.supply, index)
    }

    fn roots_with(&self, supply: &Supply, index: Index) -> Vec<Index> {
        let (mut roots, mut seen) = (BTreeSet::new(), BTreeSet::new());
        let mut open = vec![index];
        while let Some(i) = open.pop() {
            for &m in self.network.graph.above(i) {
                if roots.len() >= MOST_ROOTS || !supply.gives(m).fails() || !seen.insert(m) {
                    continue;
                }
                if self.believed(m) == Some(Health::Down) {
                    roots.insert(m);
                } else {
                    open.push(m);
                }
            }
        }
        roots.into_iter().collect()
    }

    /// The highest nodes that keep it from being supplied: what they need themselves is there.
    fn frontier_of(&self, index: Index) -> BTreeSet<Index> {
        let (mut found, mut seen) = (BTreeSet::new(), BTreeSet::new());
        let mut open = vec![index];
        while let Some(i) = open.pop() {
            for &m in self.network.graph.above(i) {
                if found.len() >= MOST_ROOTS || self.supply.gives(m).holds() || !seen.insert(m) {
                    continue;
                }
                if self.believed(m) == Some(Health::Down) || self.supply.of(m).holds() {
                    found.insert(m);
                } else {
                    open.push(m);
                }
            }
        }
        found
    }

    /// What a word about a node follows from when nothing else was heard: its place in the inventory.
    fn origin(&self, node: &Node) -> EventId {
        EventId::following(EventId(node.id.0), "revision", &self.network.revision.to_string())
    }

    fn say_up(&mut self, index: Index, node: &Arc<Node>, cause: EventId, out: &mut Out) {
        self.settle_living(index, node, Health::Up, Some(cause), out);
    }

    fn say_down(
        &mut self,
        index: Index,
        cause: EventId,
        at: Option<Time>,
        evidence: Vec<Evidence>,
        out: &mut Out,
    ) {
        self.say_health(index, Health::Down, cause, out, |now| {
            now.at = at;
            now.evidence = evidence;
        });
    }

    fn say_impacted(&mut self, index: Index, node: &Arc<Node>, roots: &[Index], out: &mut Out) {
        if roots.is_empty() {
            return;
        }
        let ids: Vec<NodeId> = roots.iter().filter_map(|r| self.id(*r)).collect();
        let before = self.standing[index as usize].health.as_ref();
        if let Some((now, _)) = before
            && now.health == Health::Impacted
            && now.roots == ids
        {
            self.settle_suspicion(index, out);
            return;
        }
        let cause = roots.iter().find_map(|r| self.standing[*r as usize].health.as_ref()).map(|(_, e)| *e);
        let cause = cause.unwrap_or_else(|| self.origin(node));
        self.say_health(index, Health::Impacted, cause, out, |now| now.roots = ids);
    }

    fn say_health(
        &mut self,
        index: Index,
        health: Health,
        cause: EventId,
        out: &mut Out,
        with: impl FnOnce(&mut NodeHealth),
    ) {
        let Some(node) = self.id(index) else { return };
        let before = self.standing[index as usize].health.as_ref().map(|(now, _)| now);
        let same = before.is_some_and(|b| b.health == health);
        let since = before.filter(|_| same).map_or(out.now, |b| b.since);
        let worked = before.is_some_and(|b| matches!(b.health, Health::Up | Health::Degraded));
        let fell = health == Health::Down && worked && self.network.graph.opens_incidents(index);
        let penalty = before.and_then(|b| b.penalty);
        let penalty = match fell {
            true => Some(flapping::after_an_edge(penalty, out.now)),
            false => flapping::remembered(penalty, out.now),
        };
        let flapped = before.is_some_and(|b| b.flags.contains(&Flag::Flapping));
        let mut now = NodeHealth {
            node,
            health,
            flags: Vec::new(),
            since,
            at: None,
            roots: Vec::new(),
            evidence: Vec::new(),
            asked: Vec::new(),
            opens_incident: health == Health::Down && self.network.graph.opens_incidents(index),
            penalty,
        };
        with(&mut now);
        if flapping::is_flapping(penalty, flapped, out.now) && !now.flags.contains(&Flag::Flapping) {
            now.flags.insert(0, Flag::Flapping);
        }
        let kind = if same { HealthKind::Noted } else { HealthKind::Changed };
        let at = now.at.unwrap_or(out.now);
        let what = format!("health {node} {:x}", crate::digest::digest_of(&now));
        let say = out.say(cause, &what, at, Fact::Health(HealthSaid { kind, now }));
        self.apply(&say);
        self.soil(index);
    }
}

/// Says that a node is suspected; what is asked because of it is said after it.
fn say_suspicion(
    kind: SuspicionKind,
    now: Suspicion,
    at: Option<Time>,
    cause: EventId,
    out: &mut Out,
) -> Say {
    let what = format!("suspicion {} {:x}", now.node, crate::digest::digest_of(&now));
    out.say(cause, &what, at.unwrap_or(out.now), Fact::Suspicion(SuspicionSaid { kind, now }))
}
