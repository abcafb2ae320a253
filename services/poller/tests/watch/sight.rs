//! A point of presence that sees nothing beyond itself calls nobody silent, and says so.

use crate::{
    ground::{Ground, until, watch},
    router::Router,
};
use events::{Answer, Fact, Noun, Outcome, Probe, Question, View, slot_of};
use kit::{Filter, From};
use std::{net::SocketAddr, time::Duration};
use tokio::{net::TcpSocket, sync::watch as flag};

/// A host that answers at a port, or, when it does not, leaves even connections unanswered: nobody takes them from its
/// queue, which holds one.
struct Reference {
    address: SocketAddr,
    answers: flag::Sender<bool>,
}

impl Reference {
    fn start() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let (answers, mut may) = flag::channel(true);
        tokio::spawn(async move {
            while may.wait_for(|may| *may).await.is_ok() {
                tokio::select! {
                    taken = listener.accept() => drop(taken),
                    _ = may.changed() => {}
                }
            }
        });
        Self { address, answers }
    }
}

async fn views(ground: &Ground) -> Vec<View> {
    let end = ground.log.state().await.unwrap().last_seq;
    let mut reader = ground.log.read(&[Filter::noun(Noun::View)], From::Start, Some(end));
    let mut all = vec![];
    while let Some(raw) = reader.next().await.unwrap() {
        let Fact::View(view) = raw.decode().unwrap().fact else { panic!("only views were asked for") };
        all.push(view);
    }
    all
}

fn silences(answers: &[Answer]) -> usize {
    answers.iter().filter(|answer| matches!(answer.outcome, Outcome::Silent { .. })).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_no_reference_answers_nobody_is_silent_and_it_is_said_to_be_blind() {
    let ground = Ground::lay().await;
    let (router, reference) = (Router::start("127.0.0.1").await, Reference::start());
    let mut core = ground.router("core-1", router.address, "s3cret");
    core.watch = watch(Probe::RouterOs, 1);
    let slot = slot_of(core.id);
    ground.put(vec![core]).await;
    let references = format!("[\"tcp:{}\"]", reference.address);
    let running = ground.start(&[("references", &references)]).await;
    ground.answers_until("it is seen", |all| !all.is_empty()).await;
    let seen = async || views(&ground).await.iter().any(|view| view.sees && view.slots == [slot]);
    until("it is said to be worked on", Duration::from_secs(10), seen).await;
    assert_eq!(views(&ground).await.len(), 1, "and for the next minutes no more is to be said");

    // Our own way out breaks, so everything is silent from here.
    reference.answers.send_replace(false);
    let blind = async || views(&ground).await.last().is_some_and(|view| !view.sees);
    until("it is said to be blind", Duration::from_secs(20), blind).await;
    router.state().is_silent = true;
    let view = views(&ground).await.pop().unwrap();
    assert_eq!((view.pop.as_str(), view.slots, view.references), ("main", vec![slot], 1));
    tokio::time::sleep(Duration::from_secs(5)).await;
    let asked = ground.ask("core-1", Question::Reach { probe: Probe::RouterOs }).await;
    assert!(
        matches!(&asked[..], [Outcome::Unanswered { why }] if why.contains("no reference answers")),
        "{asked:?}"
    );
    let asked = ground.ask("core-1", Question::RollCall { whole: true }).await;
    assert!(matches!(&asked[..], [Outcome::Unanswered { .. }]), "{asked:?}");
    assert_eq!(silences(&ground.answers().await), 0);
    let said = views(&ground).await.iter().filter(|view| !view.sees).count();
    assert_eq!(said, 1, "it is said once a minute");

    // It is back, and what is silent still is silent.
    reference.answers.send_replace(true);
    let sees = async || views(&ground).await.last().is_some_and(|view| view.sees);
    until("it is said to see", Duration::from_secs(20), sees).await;
    ground.answers_until("the router is silent", |all| silences(all) >= 3).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_takes_over_from_one_that_was_blind_says_that_it_sees() {
    let ground = Ground::lay().await;
    let (router, reference) = (Router::start("127.0.0.1").await, Reference::start());
    let mut core = ground.router("core-1", router.address, "s3cret");
    core.watch = watch(Probe::RouterOs, 1);
    let slot = slot_of(core.id);
    ground.put(vec![core]).await;
    reference.answers.send_replace(false);
    let references = format!("[\"tcp:{}\"]", reference.address);
    let first = ground.start(&[("references", &references)]).await;
    let blind = async || views(&ground).await.last().is_some_and(|view| !view.sees);
    until("it is said to be blind", Duration::from_secs(20), blind).await;
    first.stop().await;
    reference.answers.send_replace(true);
    let second = ground.start(&[("references", &references)]).await;
    let sees =
        async || views(&ground).await.last().is_some_and(|view| view.sees && view.slots.contains(&slot));
    until("it is said to see", Duration::from_secs(20), sees).await;
    second.stop().await;
}
