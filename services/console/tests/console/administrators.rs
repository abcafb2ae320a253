//! How there comes to be a first administrator, and how others follow, on a real log.

use console::{AdministratorError, Given};
use embedded::{Nats, Temporary};
use kit::{Log, LogConfig};
use std::{collections::BTreeSet, sync::Arc};
use tokio::sync::Barrier;
use vault::FreshToken;

/// How many give at the same time.
const GIVERS: usize = 12;

async fn log(nats: &Nats) -> Log {
    Log::connect(LogConfig::new([nats.url()], "test")).await.unwrap()
}

async fn ground() -> (Temporary<Nats>, Log) {
    let nats = Nats::start_temporary(|_| {}).await.unwrap();
    let log = log(&nats).await;
    log.ensure().await.unwrap();
    (nats, log)
}

/// Gives these tokens, each over a connection of its own that is there already, in one moment.
async fn all_give(nats: &Nats, tokens: Vec<String>) -> Vec<(Result<Given, AdministratorError>, String)> {
    let together = Arc::new(Barrier::new(tokens.len()));
    let mut giving = Vec::new();
    for token in tokens {
        let (log, together) = (log(nats).await, Arc::clone(&together));
        giving.push(tokio::spawn(async move {
            together.wait().await;
            (console::give_first(&log, &token).await, token)
        }));
    }
    let mut given = Vec::new();
    for one in giving {
        given.push(one.await.unwrap());
    }
    given
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_who_bring_a_first_token_of_their_own_at_once_one_is_let_through() {
    let (nats, own) = ground().await;
    // Twice: where there was nobody, and where whoever there was is revoked.
    for round in 0..2 {
        let tokens = (0..GIVERS).map(|_| console::draw_first().to_string()).collect();
        let (mut new, mut refused) = (Vec::new(), 0);
        for one in all_give(&nats, tokens).await {
            match one {
                (Ok(Given::New), token) => new.push(token),
                (Err(AdministratorError::Exists { prefix, .. }), _) => {
                    assert_eq!(prefix, "firstadmin00");
                    refused += 1;
                }
                (other, _) => panic!("{other:?}"),
            }
        }
        assert_eq!((new.len(), refused), (1, GIVERS - 1), "round {round}");
        // The same again, by the one that was let through: no change and no error.
        assert_eq!(console::give_first(&own, &new[0]).await.unwrap(), Given::Already);
        let all = console::administrators(&own).await.unwrap();
        assert_eq!(all.iter().map(|one| one.revoked).collect::<Vec<_>>(), [false]);
        assert!(console::revoke_administrator(&own, "firstadmin00").await.unwrap());
        assert!(!console::revoke_administrator(&own, "firstadmin00").await.unwrap());
        // What was revoked does not come back by being given again.
        let again = console::give_first(&own, &new[0]).await;
        assert!(matches!(again, Err(AdministratorError::Revoked { .. })), "{again:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_same_token_from_many_at_once_is_one_and_no_error() {
    let (nats, own) = ground().await;
    let tokens = vec![console::draw_first().to_string(); GIVERS];
    let given = all_give(&nats, tokens).await;
    let new = given.iter().filter(|(given, _)| *given.as_ref().unwrap() == Given::New).count();
    assert_eq!(new, 1);
    assert_eq!(own.state().await.unwrap().last_seq, 1, "it is said once");
}

#[tokio::test]
async fn others_follow_under_their_own_names_and_a_secret_is_never_said() {
    let (_nats, log) = ground().await;
    let first = console::first_administrator(&log).await.unwrap().unwrap();
    assert!(console::first_administrator(&log).await.unwrap().is_none(), "there is one already");
    let other = FreshToken::random();
    for given in [Given::New, Given::Already] {
        assert_eq!(console::give_another(&log, other.text(), "Ana").await.unwrap(), given);
    }
    // Somebody else's public part, and no name.
    let same_prefix = format!("mw_{}_{}", other.prefix(), "a".repeat(32));
    let taken = console::give_another(&log, &same_prefix, "Ben").await;
    assert!(matches!(taken, Err(AdministratorError::Taken { .. })), "{taken:?}");
    let nameless = console::give_another(&log, FreshToken::random().text(), "").await;
    assert!(matches!(nameless, Err(AdministratorError::Name)), "{nameless:?}");
    let names: BTreeSet<String> =
        console::administrators(&log).await.unwrap().into_iter().map(|one| one.name).collect();
    assert_eq!(names, BTreeSet::from(["Ana".into(), "first administrator".into()]));
    for seq in 1..=log.state().await.unwrap().last_seq {
        let raw = log.at(seq).await.unwrap().unwrap();
        let body = String::from_utf8_lossy(&raw.body).into_owned();
        for secret in [first.as_str(), other.text()].map(|text| text.rsplit('_').next().unwrap()) {
            assert!(!body.contains(secret) && !format!("{raw:?}").contains(secret), "{body}");
        }
    }
}
