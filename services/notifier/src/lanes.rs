//! Each channel's lane: how many calls it has at once, and whether it wants none any more.
//!
//! What a channel answered with 410 is remembered as long as its settings stay the same and this process lives;
//! the next one asks once more. Lanes of channels that are no more are forgotten when there are many.

use events::{Channel, ChannelId, TenantId};
use prometheus_client::metrics::gauge::Gauge;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// From how many lanes on those of channels that are no more are looked for.
const MANY: usize = 1_024;

/// The lanes of all channels.
#[derive(Debug)]
pub(crate) struct Lanes {
    at_once: usize,
    /// How many channels are off.
    off: Gauge,
    of: Mutex<HashMap<(TenantId, ChannelId), Lane>>,
}

#[derive(Debug)]
struct Lane {
    room: Arc<Semaphore>,
    /// The settings under which it said that it wants nothing any more.
    off: Option<Arc<Channel>>,
}

impl Lanes {
    /// `at_once` calls for each channel.
    pub(crate) fn new(at_once: usize, off: Gauge) -> Self {
        Self { at_once, off, of: Mutex::default() }
    }

    /// A place for one more call to the channel, if it has one.
    pub(crate) fn place(
        &self,
        tenant: TenantId,
        channel: &Channel,
        is_known: impl Fn(TenantId, ChannelId) -> bool,
    ) -> Option<OwnedSemaphorePermit> {
        let room = self.with(tenant, channel.id, is_known, |lane| Arc::clone(&lane.room));
        room.try_acquire_owned().ok()
    }

    /// Whether the channel said that it wants nothing any more, under the settings it has now.
    pub(crate) fn is_off(&self, tenant: TenantId, channel: &Channel) -> bool {
        let mut lanes = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(lane) = lanes.get_mut(&(tenant, channel.id)) else { return false };
        match &lane.off {
            Some(then) if then.kind == channel.kind => true,
            Some(_) => {
                lane.off = None;
                self.off.dec();
                false
            }
            None => false,
        }
    }

    /// It wants nothing any more, under these settings.
    pub(crate) fn switch_off(
        &self,
        tenant: TenantId,
        channel: &Arc<Channel>,
        is_known: impl Fn(TenantId, ChannelId) -> bool,
    ) {
        self.with(tenant, channel.id, is_known, |lane| {
            if lane.off.replace(Arc::clone(channel)).is_none() {
                self.off.inc();
            }
        });
    }

    fn with<T>(
        &self,
        tenant: TenantId,
        id: ChannelId,
        is_known: impl Fn(TenantId, ChannelId) -> bool,
        look: impl FnOnce(&mut Lane) -> T,
    ) -> T {
        // A panic elsewhere leaves nothing half-done in here.
        let mut lanes = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        if lanes.len() >= MANY && !lanes.contains_key(&(tenant, id)) {
            lanes.retain(|(tenant, id), lane| {
                let stays = is_known(*tenant, *id) || lane.room.available_permits() < self.at_once;
                if !stays && lane.off.is_some() {
                    self.off.dec();
                }
                stays
            });
        }
        let lane = lanes
            .entry((tenant, id))
            .or_insert_with(|| Lane { room: Arc::new(Semaphore::new(self.at_once)), off: None });
        look(lane)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use events::{Audience, ChannelKind};

    fn channel(tenant: TenantId, name: &str) -> Channel {
        let kind =
            ChannelKind::Email { server: "smtp://m".into(), from: "f".into(), to: vec![], login: None };
        Channel { id: ChannelId::of(tenant, name), name: name.into(), audience: Audience::Engineers, kind }
    }

    #[test]
    fn a_channel_has_so_many_places_and_is_off_until_its_settings_change() {
        let (tenant, gauge) = (TenantId::of("hillside"), Gauge::default());
        let lanes = Lanes::new(2, gauge.clone());
        let noc = Arc::new(channel(tenant, "noc"));
        let all = |_, _| true;
        let places = [(); 3].map(|()| lanes.place(tenant, &noc, all));
        assert_eq!(places.each_ref().map(Option::is_some), [true, true, false]);
        lanes.switch_off(tenant, &noc, all);
        lanes.switch_off(tenant, &noc, all);
        assert!(lanes.is_off(tenant, &noc) && gauge.get() == 1);
        let mut other = (*noc).clone();
        other.kind =
            ChannelKind::Email { server: "smtp://n".into(), from: "f".into(), to: vec![], login: None };
        assert!(!lanes.is_off(tenant, &other) && gauge.get() == 0);
    }

    #[test]
    fn channels_that_are_no_more_are_forgotten_and_those_in_use_are_not() {
        let (tenant, gauge) = (TenantId::of("hillside"), Gauge::default());
        let lanes = Lanes::new(1, gauge.clone());
        let kept = Arc::new(channel(tenant, "kept"));
        let is_known = |_: TenantId, id: ChannelId| id == kept.id;
        lanes.switch_off(tenant, &kept, is_known);
        let busy = channel(tenant, "busy");
        let place = lanes.place(tenant, &busy, is_known).unwrap();
        for n in 0..10 * MANY {
            lanes.switch_off(tenant, &Arc::new(channel(tenant, &n.to_string())), is_known);
        }
        assert!(lanes.of.lock().unwrap().len() <= MANY);
        assert!(gauge.get() <= MANY as i64, "what is forgotten is not shown as off");
        assert!(lanes.is_off(tenant, &kept));
        assert!(lanes.place(tenant, &busy, is_known).is_none(), "its one place is taken");
        drop(place);
    }
}
