//! What a promise is tried on: one nats-server, or three that replicate.
//!
//! A test is a function of [`On`]; [`on_one_and_on_three`] makes two of it. On three servers whoever leads the
//! log is struck.

use embedded::{Nats, NatsCluster, NatsOptions, Temporary};
use std::time::Duration;

/// On how many servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum On {
    One,
    Three,
}

/// The servers of one test; gone when dropped.
pub(crate) enum Servers {
    One(Box<Temporary<Nats>>),
    Three(Temporary<NatsCluster>),
}

/// Makes two tests of each function: on one server, and on three.
macro_rules! on_one_and_on_three {
    ($($promise:ident),+ $(,)?) => {
        mod on_one_server {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                super::$promise($crate::nats::On::One).await;
            })+
        }
        mod on_three_servers {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                super::$promise($crate::nats::On::Three).await;
            })+
        }
    };
}
pub(crate) use on_one_and_on_three;

impl Servers {
    pub(crate) async fn start(on: On, change: impl FnOnce(&mut NatsOptions)) -> Servers {
        match on {
            On::One => Servers::One(Box::new(Nats::start_temporary(change).await.unwrap())),
            On::Three => Servers::Three(NatsCluster::start_temporary(change).await.unwrap()),
        }
    }

    fn all(&self) -> &[Nats] {
        match self {
            Servers::One(nats) => std::slice::from_ref(nats),
            Servers::Three(cluster) => cluster.members(),
        }
    }

    /// How many keep each message.
    pub(crate) fn replicas(&self) -> usize {
        self.all().len()
    }

    pub(crate) fn urls(&self) -> Vec<String> {
        self.all().iter().map(Nats::url).collect()
    }

    /// Of all but one.
    pub(crate) fn urls_without(&self, one: &Nats) -> Vec<String> {
        self.urls().into_iter().filter(|url| *url != one.url()).collect()
    }

    /// Of one of them.
    pub(crate) fn url(&self) -> String {
        self.all()[0].url()
    }

    /// Whoever leads the log now.
    pub(crate) async fn leader(&self) -> &Nats {
        self.leader_of("LOG").await
    }

    /// Whoever leads a stream now.
    pub(crate) async fn leader_of(&self, stream: &str) -> &Nats {
        self.leading(stream, None).await
    }

    /// Whoever hands out what a shared consumer of a stream hears: of three that need not be the stream's leader.
    pub(crate) async fn leader_of_consumer(&self, stream: &str, consumer: &str) -> &Nats {
        self.leading(stream, Some(consumer)).await
    }

    async fn leading(&self, stream: &str, consumer: Option<&str>) -> &Nats {
        if let [alone] = self.all() {
            return alone;
        }
        for _ in 0..100 {
            let name = self.leading_name(stream, consumer).await;
            if let Some(member) =
                self.all().iter().find(|member| Some(member.server_name()) == name.as_deref())
            {
                return member;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("nobody leads {stream} {consumer:?}");
    }

    async fn leading_name(&self, stream: &str, consumer: Option<&str>) -> Option<String> {
        let addresses: Vec<async_nats::ServerAddr> =
            self.urls().iter().map(|url| url.parse().unwrap()).collect();
        let client = async_nats::connect(addresses).await.ok()?;
        let stream = async_nats::jetstream::new(client).get_stream(stream).await.ok()?;
        match consumer {
            None => stream.cached_info().cluster.as_ref()?.leader.clone(),
            Some(consumer) => stream.consumer_info(consumer).await.ok()?.cluster?.leader,
        }
    }

    /// Whoever leads the log is killed and started again.
    pub(crate) async fn strike_the_leader(&self) {
        let leader = self.leader().await;
        leader.kill();
        leader.restart().await.unwrap();
    }

    /// Every server is stopped, and started again with so much room for its store, bytes.
    pub(crate) async fn give_room(&self, bytes: u64) {
        for server in self.all() {
            server.give_room(bytes);
        }
        match self {
            Servers::One(nats) => nats.restart().await.unwrap(),
            Servers::Three(cluster) => cluster.restart().await.unwrap(),
        }
    }

    /// Every server is killed at once, and started again.
    pub(crate) async fn strike_all(&self) {
        self.all().iter().for_each(Nats::kill);
        match self {
            Servers::One(nats) => nats.restart().await.unwrap(),
            Servers::Three(cluster) => cluster.restart().await.unwrap(),
        }
    }
}
