//! What a router sees around it: asked for, held against the inventory, and what is news is said.
//!
//! A device is said by compare-and-set on its subject: two routers may see it at once, and a person may decide
//! about it at any moment. Who was beaten reads what was said and works it out again. Ended anywhere, the
//! next scan says what is missing: it is worked out from what was said and nothing else.

use crate::{
    book::{Book, SaidDevice},
    figures::{Figures, ScanEnded, Sighted},
    known::Known,
    record::{Record, RecordError, now},
    visit::{Job, chain},
};
use domain::scout::{Found, Look, Neighbour, Row, Seen, neighbours};
use events::{EventId, Scan, SeenDevice, SightingId};
use routeros_api::{Router, RouterError, question::Neighbours};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use vault::{Field, TenantKeys};

/// How often a scan is worked out again because somebody else said something meanwhile.
const ATTEMPTS: u32 = 5;
/// After how long what still holds of a device that is seen is said again: nine tenths of how long it is kept.
const RESTATED_MS: i64 = 356 * 86_400_000;

/// Scans routers.
#[derive(Clone)]
pub(crate) struct Scout {
    pub(crate) book: Arc<Book>,
    pub(crate) record: Record,
    pub(crate) figures: Figures,
    /// After how long a router is scanned again without anybody asking.
    pub(crate) every: Duration,
    /// How many devices of one router are told of at most.
    pub(crate) most: usize,
    pub(crate) within: Duration,
}

impl Scout {
    /// Whether it is this router's turn: somebody ordered it, it never was, or it is long ago.
    pub(crate) fn is_due(&self, job: &Job) -> bool {
        let every_ms = i64::try_from(self.every.as_millis()).unwrap_or(i64::MAX);
        let last = self.book.scanned_at(job.tenant, job.router);
        job.scans || last.is_none_or(|last| now().ms().saturating_sub(last.ms()) >= every_ms)
    }

    /// Scans a router, and says what is news.
    ///
    /// # Errors
    ///
    /// When the log does not store it. A router that cannot be asked is no error: that is said.
    pub(crate) async fn scan(
        &self,
        job: &Job,
        run: EventId,
        router: &Router,
        known: &Known,
    ) -> Result<(), RecordError> {
        let heard = match heard(router, &known.keys, self.within).await {
            Ok(heard) => heard,
            Err(error) => return self.failed(job, run, chain(&error)).await,
        };
        let mut newer: BTreeMap<SightingId, SaidDevice> = BTreeMap::new();
        for _ in 0..ATTEMPTS {
            let mut said = self.book.sightings(job.tenant);
            said.extend(newer.iter().map(|(id, device)| (*id, device.clone())));
            let found = self.found(job, &heard, &said, &known.keys);
            if self.say(job, run, &found.news, &said, &mut newer).await? {
                self.figures.left_out.inc_by(found.scan.left_out_count.into());
                self.figures.scans.get_or_create(&ScanEnded { outcome: "scanned" }).inc();
                return self.record.scanned(job.tenant, found.scan, (run, job.cause)).await;
            }
        }
        self.failed(job, run, "others say something of the same devices all the time".to_owned()).await
    }

    /// Says that a router could not be scanned.
    pub(crate) async fn failed(&self, job: &Job, run: EventId, why: String) -> Result<(), RecordError> {
        self.figures.scans.get_or_create(&ScanEnded { outcome: "failed" }).inc();
        let scan = Scan {
            router: job.router,
            at: now(),
            device_count: 0,
            known_count: 0,
            proposed_count: 0,
            moved_count: 0,
            rejected_count: 0,
            left_out_count: 0,
            error: Some(why),
        };
        self.record.scanned(job.tenant, scan, (run, job.cause)).await
    }

    fn found(
        &self,
        job: &Job,
        heard: &BTreeMap<SightingId, Neighbour>,
        said: &BTreeMap<SightingId, SaidDevice>,
        keys: &TenantKeys,
    ) -> Found {
        let before = said.iter().map(|(id, said)| (*id, Arc::clone(&said.device))).collect();
        let seal = |id: SightingId, seen: &Seen| {
            let plain = serde_json::to_vec(seen).expect("texts and an address have a JSON form");
            keys.seal(Field::Sighting(id), &plain)
        };
        let open = |device: &SeenDevice| {
            let plain = keys.open(Field::Sighting(device.id), &device.seen).ok()?;
            serde_json::from_slice(&plain).ok()
        };
        let look = Look {
            router: job.router,
            at: now(),
            heard,
            before: &before,
            most: self.most,
            seal: &seal,
            open: &open,
        };
        let mut found = self.book.with_graph(job.tenant, |graph| domain::scout::scan(&look, graph));
        // What the log would forget is said again while it still holds.
        let forgotten_soon = now().plus_ms(-RESTATED_MS);
        let is_news = |id: &SightingId| found.news.iter().any(|news| news.id == *id);
        let again =
            said.values().filter(|said| said.heard < forgotten_soon && heard.contains_key(&said.device.id));
        let again: Vec<SeenDevice> =
            again.filter(|said| !is_news(&said.device.id)).map(|said| (*said.device).clone()).collect();
        found.news.extend(again);
        found
    }

    /// Says news one by one; `false` when somebody else was faster, whose word is in `newer` then.
    async fn say(
        &self,
        job: &Job,
        run: EventId,
        news: &[SeenDevice],
        said: &BTreeMap<SightingId, SaidDevice>,
        newer: &mut BTreeMap<SightingId, SaidDevice>,
    ) -> Result<bool, RecordError> {
        let mut was_first = true;
        for device in news {
            let last_seq = said.get(&device.id).map_or(0, |said| said.seq);
            match self.record.sighted(job.tenant, device.clone(), last_seq, (run, job.cause)).await {
                Ok(seq) => {
                    self.figures.sighted.get_or_create(&Sighted { state: device.state.name() }).inc();
                    newer.insert(
                        device.id,
                        SaidDevice { device: Arc::new(device.clone()), seq, heard: now() },
                    );
                }
                Err(RecordError::Taken) => {
                    was_first = false;
                    // None: the log has forgotten it, and it is said as if for the first time.
                    let forgotten = || SaidDevice { device: Arc::new(device.clone()), seq: 0, heard: now() };
                    let said = self.record.last_sighted(job.tenant, device.id).await?;
                    newer.insert(device.id, said.unwrap_or_else(forgotten));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(was_first)
    }
}

/// Whom a router hears, under the keyed hash of what each is told apart by.
async fn heard(
    router: &Router,
    keys: &TenantKeys,
    within: Duration,
) -> Result<BTreeMap<SightingId, Neighbour>, RouterError> {
    let rows = router.ask(&Neighbours, within).await?;
    let row = |heard: routeros_api::question::Heard| Row {
        interface: heard.interface,
        mac: heard.mac,
        identity: heard.identity,
        address: heard.address,
        platform: heard.platform,
        board: heard.board,
        version: heard.version,
        description: heard.description,
        caps: heard.caps,
        software_id: heard.software_id,
    };
    let rows: Vec<Row> = rows.into_iter().map(row).collect();
    Ok(neighbours(&rows).into_iter().map(|(key, neighbour)| (keys.sighting(&key), neighbour)).collect())
}
