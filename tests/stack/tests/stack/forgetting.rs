//! The three deciders on a real log, each of which loses its memory after every single commit of an outage.

use events::{Decide, Fact, NoticeKind, Noun, Phase};
use kit::{Decider, DeciderOptions, Leasing, Log, Observe, Service, config::Settings, decider::Then};
use network_file::Shape;
use stack::{
    Stack,
    hand::{facts, until},
    isp::Isp,
    reports::{Routers, Says, dice},
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Makes a decider forget after each commit, and holds what is loaded then against what was forgotten.
#[derive(Default)]
struct Forgetting {
    /// The digest of the memory at each position that a commit reached.
    forgotten: Mutex<BTreeMap<(u16, u64), u64>>,
    compared: AtomicUsize,
    differing: Mutex<Vec<(u16, u64)>>,
}

impl Observe for Forgetting {
    fn loaded(&self, part: u16, position: u64, digest: u64) {
        if let Some(before) = self.forgotten.lock().unwrap().get(&(part, position)) {
            self.compared.fetch_add(1, Ordering::SeqCst);
            if *before != digest {
                self.differing.lock().unwrap().push((part, position));
            }
        }
    }

    fn committed(&self, part: u16, position: u64, digest: u64) -> Then {
        self.forgotten.lock().unwrap().insert((part, position), digest);
        Then::Forget
    }
}

/// A decider that forgets.
struct Forgetful {
    name: &'static str,
    seen: Arc<Forgetting>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

fn begin<D: Decide + Default>(log: &Log) -> Forgetful {
    let (seen, stop) = (Arc::new(Forgetting::default()), CancellationToken::new());
    let options = DeciderOptions { leasing: Leasing::Alone, ..DeciderOptions::default() };
    let decider = Decider::new(log.clone(), |_| D::default()).with(options).observed(Arc::clone(&seen) as _);
    let until = stop.clone();
    let task = tokio::spawn(async move { decider.run(until).await.unwrap() });
    Forgetful { name: D::NAME, seen, stop, task }
}

#[tokio::test(flavor = "multi_thread")]
async fn deciders_that_forget_after_every_commit_of_an_outage_remember_the_same_and_tell_once() {
    let stack = Stack::start().await.unwrap();
    let running = stack.run(&["ingest", "poller", "projector", "console"]).unwrap();
    let deciders = [
        begin::<domain::Diagnosis>(&stack.log),
        begin::<domain::Correlation>(&stack.log),
        begin::<domain::Announcing>(&stack.log),
    ];
    // The other half of notifier, which remembers nothing, sends what is decided.
    let settings = Settings::load(Some(stack.config())).unwrap();
    let (config, common) = (settings.section().unwrap(), settings.common().unwrap());
    let service = Service::alone("notifier", common, stack.log.clone());
    let sending = tokio::spawn(async move { notifier::deliver(config, &service).await });
    let shape = Shape { towers: 3, sectors: 2, clients: 5, heartbeat_s: 5, ..Shape::default() };
    let isp = Isp::open(&stack, "hillside", 7, shape).await.unwrap();
    stack.settled(isp.slug(), Duration::from_secs(60)).await.unwrap();
    let (mut routers, mut random) = (Routers::of(&isp.network, stack.ingest).unwrap(), dice(7));
    for (is_broken, says, told) in [(true, Says::Down, 1), (false, Says::Up, 2)] {
        isp.set_broken("core-1", is_broken).unwrap();
        let mut wave = routers.report(says, Duration::from_secs(2), &mut random).unwrap();
        until("everything is reported and told", &running, async || {
            (wave.is_over().unwrap() && stack.sink.told().len() >= told).then_some(())
        })
        .await;
    }
    stack.settled(isp.slug(), Duration::from_secs(60)).await.unwrap();
    // Whoever would be told twice is told within this.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let said = facts(&stack, Noun::Notice).await.into_iter();
    let phases: Vec<(NoticeKind, Phase)> = said
        .filter_map(|fact| match fact {
            Fact::Notice(said) => Some((said.kind, said.now.phase)),
            _ => None,
        })
        .collect();
    assert_eq!(phases, [Phase::Opened, Phase::Resolved].map(|phase| (NoticeKind::Addressed, phase)));
    let told: Vec<String> = stack.sink.told().into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(told, ["incident.opened", "incident.resolved"]);
    sending.abort();
    for Forgetful { name, seen, stop, task } in deciders {
        stop.cancel();
        task.await.unwrap();
        assert_eq!(*seen.differing.lock().unwrap(), [], "{name}");
        let (forgotten, compared) =
            (seen.forgotten.lock().unwrap().len(), seen.compared.load(Ordering::SeqCst));
        // After the last one there was nothing left to be loaded for.
        assert!(forgotten >= 3 && compared + 2 >= forgotten, "{name}: {compared} of {forgotten}");
    }
    isp.lab.stop().await;
}
