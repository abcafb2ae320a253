//! A poller on the played routers, and whom it has them ping.

use super::{Ground, Running, until};
use events::{Inventory, Node, NodeKind, Tier, Watch};
use kit::{
    Service,
    admin::Board,
    config::{Common, Durability, Settings},
};
use std::{net::IpAddr, sync::Arc};
use tokio_util::sync::CancellationToken;
use vault::Person;

impl Ground {
    /// How routers are watched, from the next import on.
    pub(crate) fn watch(&self, watch: Option<Watch>) {
        *self.watch.lock().unwrap() = watch;
    }

    /// A subscriber with a static address behind a router.
    pub(crate) async fn subscribe(&self, account: &str, router: &str, address: IpAddr) {
        let node = Node {
            kind: NodeKind::Subscriber,
            tier: Tier::Subscriber,
            seen_by: Some(self.id(router)),
            ..self.node(account)
        };
        let mut person = Person::default();
        person.static_address = Some(address.to_string());
        let sealed = self.keys.seal_person(node.id, &person);
        self.log.put_personal(self.tenant, vec![(node.id, sealed)]).await.unwrap();
        self.lay_down(vec![Inventory::Node(Arc::new(node))]).await;
    }

    /// Starts a poller, and waits until it is ready.
    pub(crate) async fn start_poller(&self, settings: &[(&str, &str)]) -> Running {
        let own = [("MASTER_KEYS", self.master.as_str())];
        let pairs = own.iter().chain(settings);
        let pairs = pairs.map(|(key, value)| (format!("MASTWATCH_POLLER__{key}"), (*value).to_owned()));
        let config: poller::Config = Settings::from_parts(None, pairs).unwrap().section().unwrap();
        let board = Board::default();
        let service = Service {
            name: "poller",
            common: Arc::new(Common::default()),
            log: self.log.clone(),
            stop: CancellationToken::new(),
            readiness: board.condition("poller"),
            metrics: self.metrics.under("poller"),
        };
        let stop = service.stop.clone();
        let task = tokio::spawn(poller::run(config, service));
        until("the poller is ready", async || board.report(Durability::Always).ready).await;
        Running { stop, task }
    }

    /// How many of a histogram's values are at most `at_most`, by its next larger bucket.
    pub(crate) fn bucket(&self, name: &str, at_most: f64) -> f64 {
        let text = self.metrics.text().unwrap();
        let buckets = text.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?.strip_prefix("_bucket{le=\"")?;
            let (le, rest) = rest.split_once('"')?;
            Some((le.parse::<f64>().ok()?, rest.rsplit(' ').next()?.parse::<f64>().ok()?))
        });
        let next = buckets.filter(|(le, _)| *le >= at_most).min_by(|a, b| a.0.total_cmp(&b.0));
        next.map_or(0.0, |(_, count)| count)
    }
}
