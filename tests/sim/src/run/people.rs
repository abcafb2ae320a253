//! Who does something about what was said: the poller, the delivering half of notifier, and people.

use super::{Ev, Run};
use crate::net::SECOND_US;
use events::{
    Delivery, DeliveryKind, DeliverySaid, Fact, Notice, NoticeId, NoticeKind, Noun, Phase, TenantId, Time,
};

impl Run {
    /// What the poller, the delivering half and people do about what was said.
    pub(super) fn answer_to(&mut self, index: u32) {
        let heard = &self.bus.log[index as usize].heard;
        let tenant = heard.tenant;
        match &heard.fact {
            Fact::Ask(ask) => {
                let Some(net) = self.nets.iter_mut().find(|n| n.tenant == tenant) else {
                    let what = format!("asked for tenant {tenant}, which nobody knows");
                    return self.fail("bounds", what);
                };
                self.poller.hear(&mut self.agenda, net, ask, &self.faults, &mut self.rng);
            }
            Fact::Notice(said) if said.kind == NoticeKind::Addressed => {
                let slow = self.rng.chance(self.faults.deliveries_slow);
                let most = if slow { 120 * SECOND_US } else { 2 * SECOND_US };
                let delay = self.rng.between(50_000, most);
                let notice = said.now.id;
                self.agenda.after(delay, Ev::Deliver { tenant, notice, attempts: 1 });
                let orders = [(self.faults.acknowledged, false), (self.faults.closed_as_wrong, true)];
                for (often, wrong) in orders {
                    if said.now.phase == Phase::Opened && self.rng.chance(often) {
                        let delay = self.rng.between(5, 1_200) * SECOND_US;
                        let incident = said.now.about.id;
                        self.agenda.after(delay, Ev::Order { tenant, incident, wrong });
                    }
                }
            }
            _ => {}
        }
    }

    fn notice(&self, tenant: TenantId, id: NoticeId) -> Option<(&Notice, NoticeKind)> {
        match &self.bus.last(tenant, Noun::Notice, id.0)?.heard.fact {
            Fact::Notice(said) => Some((&said.now, said.kind)),
            _ => None,
        }
    }

    pub(super) fn deliver(&mut self, tenant: TenantId, id: NoticeId, attempts: u32) {
        let now = Time::from_us(self.agenda.now_us());
        let leaves = match self.notice(tenant, id) {
            Some((_, NoticeKind::Withdrawn)) | None => false,
            Some((notice, NoticeKind::Addressed)) => notice.expires > now,
        };
        let kind = if leaves { DeliveryKind::Attempted } else { DeliveryKind::Dropped };
        if !self.say_delivery(tenant, id, attempts, kind) || !leaves {
            return;
        }
        let took = !self.rng.chance(self.faults.deliveries_slow / 4);
        let delay = self.rng.between(20_000, 800_000);
        self.agenda.after(delay, Ev::Delivered { tenant, notice: id, attempts, took });
    }

    /// Says it unless somebody was faster (compare-and-set): a first attempt happens once.
    fn say_delivery(&mut self, tenant: TenantId, id: NoticeId, attempts: u32, kind: DeliveryKind) -> bool {
        let now = Delivery { notice: id, attempts, answer: None, possibly_repeated: false };
        let fact = Fact::Delivery(DeliverySaid { kind, now });
        let before = self.bus.last(tenant, Noun::Delivery, id.0).map(|entry| match &entry.heard.fact {
            Fact::Delivery(said) => said.now.attempts,
            _ => 0,
        });
        let begins = matches!(kind, DeliveryKind::Attempted | DeliveryKind::Dropped);
        if begins && before.is_some_and(|before| before >= attempts) {
            return false;
        }
        let say = self.as_the_world(tenant, fact);
        self.bus.store(self.agenda.now_us(), None, say);
        true
    }

    pub(super) fn delivered(&mut self, tenant: TenantId, id: NoticeId, attempts: u32, took: bool) {
        let kind = if took { DeliveryKind::Delivered } else { DeliveryKind::Deferred };
        self.say_delivery(tenant, id, attempts, kind);
        if !took {
            let delay = self.rng.between(2, 20) * SECOND_US;
            self.agenda.after(delay, Ev::Deliver { tenant, notice: id, attempts: attempts + 1 });
        }
    }
}
