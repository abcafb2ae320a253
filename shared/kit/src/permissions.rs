//! What each service may do at the log's server: one user a service, with no more than it needs.
//!
//! So a service that was broken into, or a box at a tower that was carried away, cannot speak for the others. Who
//! says which noun is written down in [`Noun::said_by`]; everything else here is what reading, saying, leasing and
//! burying ask of JetStream. A point of presence has a poller's user of its own, which may speak for its tenants only.
//! Services that share a process share its connection: their user may do what each of them may ([`together`]).
//!
//! What is *not* parted: whoever may read the log may read all of it, because a consumer's filters are in the body
//! of the request that makes it and not in a subject; and whoever may read may delete another's consumer, which is
//! made again at once.

use crate::{
    commit::NEVER_SUBJECT,
    dead,
    log::{LEASES, inbox_of},
    personal,
};
use events::{Noun, TenantId, partition_of};
use serde::Serialize;
use std::fmt::Write;

/// Whoever declares the streams; no service is that user.
pub const SETUP: &str = "setup";

/// What the variables with the users' passwords begin with, in the server's configuration.
pub const PASSWORD_VARIABLE: &str = "MASTWATCH_NATS_PASSWORD_";

const LOG: &str = "LOG";
const METRICS: &str = "METRICS";

/// One user of the log's server, and the subjects that are open to it. All others are not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct User {
    /// Its name.
    pub name: String,
    /// What it may publish: facts, and requests to JetStream.
    pub publish: Vec<String>,
    /// What it may subscribe: its own inbox, where answers and messages of its consumers arrive.
    pub subscribe: Vec<String>,
}

impl User {
    fn new(name: impl Into<String>, mut publish: Vec<String>) -> Self {
        publish.sort_unstable();
        publish.dedup();
        let name = name.into();
        let subscribe = vec![format!("{}.>", inbox_of(&name))];
        Self { name, publish, subscribe }
    }

    /// The variable that the server reads this user's password from.
    pub fn password_variable(&self) -> String {
        format!("{PASSWORD_VARIABLE}{}", self.name.to_uppercase().replace('-', "_"))
    }
}

/// The user of a service, named as it; for every tenant and every point of presence.
pub fn service(name: &str) -> User {
    let mut publish = read(LOG);
    publish.extend(facts(name, "*.*"));
    publish.extend(names_of_the_dead(name).into_iter().map(|mourner| format!("dead.{mourner}.>")));
    match name {
        "diagnostician" | "correlator" => publish.extend(deciding(name)),
        "notifier" => {
            publish.extend(deciding(name));
            publish.extend(work(LOG, "notifier-deliveries"));
        }
        "poller" => {
            publish.extend(leases(name));
            publish.push("metrics.>".into());
            publish.push(a_person("*"));
        }
        "reconciler" => {
            publish.extend(leases(name));
            // One person at a time: who a subscriber is at its router. No consumer shows it all of them.
            let calls = ["STREAM.INFO", "STREAM.MSG.GET"];
            publish.extend(calls.map(|call| api(&format!("{call}.{}", personal::STREAM))));
        }
        "projector" => {
            publish.extend(read(METRICS));
            publish.extend(work(METRICS, "projector-series"));
        }
        "console" => {
            publish.extend(read(personal::STREAM));
            publish.push("personal.>".into());
            // Erasure, and parts of imports that never took effect.
            publish.extend([personal::STREAM, LOG].map(|stream| api(&format!("STREAM.PURGE.{stream}"))));
        }
        _ => {}
    }
    User::new(name, publish)
}

/// The user of the poller at a point of presence, `poller-<pop>`: it speaks for these tenants only, and takes part in
/// the leases of its own point of presence only.
pub fn point_of_presence(pop: &str, tenants: &[TenantId]) -> User {
    let mut publish = read(LOG);
    for tenant in tenants {
        let scope = format!("{}.{tenant}", partition_of(*tenant));
        publish.extend(facts("poller", &scope));
        publish.push(format!("metrics.{scope}.>"));
        publish.push(a_person(&tenant.to_string()));
    }
    publish.extend(leases(&format!("poller.{pop}")));
    publish.push("dead.poller.>".into());
    User::new(format!("poller-{pop}"), publish)
}

/// The user of a process that is several others at once: it may publish what any of them may, and has one inbox, its own.
pub fn together(name: impl Into<String>, users: &[User]) -> User {
    User::new(name, users.iter().flat_map(|user| user.publish.iter().cloned()).collect())
}

/// The user that declares the streams.
pub fn setup() -> User {
    let streams = [
        LOG.to_owned(),
        METRICS.into(),
        personal::STREAM.into(),
        dead::STREAM.into(),
        format!("KV_{LEASES}"),
    ];
    let declares =
        |stream: &String| ["INFO", "CREATE", "UPDATE"].map(|verb| api(&format!("STREAM.{verb}.{stream}")));
    User::new(SETUP, streams.iter().flat_map(declares).chain([of_account()]).collect())
}

/// These users in nats-server's own format, to be included in its configuration. Passwords are read from the server's
/// environment ([`User::password_variable`]).
pub fn configuration(users: &[User]) -> String {
    let mut text = String::from("authorization {\n  users: [\n");
    for user in users {
        let _infallible = write!(
            text,
            "    {{\n      user: \"{}\"\n      password: ${}\n      permissions: {{\n{}{}      }}\n    }}\n",
            user.name,
            user.password_variable(),
            allowed("publish", &user.publish),
            allowed("subscribe", &user.subscribe),
        );
    }
    text.push_str("  ]\n}\n");
    text
}

fn allowed(verb: &str, subjects: &[String]) -> String {
    let lines: String = subjects.iter().map(|subject| format!("          \"{subject}\"\n")).collect();
    format!("        {verb}: {{ allow: [\n{lines}        ] }}\n")
}

/// Asking what the account may have: the client does before it makes a bucket.
fn of_account() -> String {
    api("INFO")
}

fn api(call: &str) -> String {
    format!("$JS.API.{call}")
}

/// What reading a stream takes: questions to its leader, and consumers of one's own, which the server names.
fn read(stream: &str) -> Vec<String> {
    let calls = ["STREAM.INFO.{}", "STREAM.MSG.GET.{}", "CONSUMER.CREATE.{}", "CONSUMER.INFO.{}.*"];
    let of_consumers = ["CONSUMER.MSG.NEXT.{}.*", "CONSUMER.DELETE.{}.*"];
    calls.iter().chain(&of_consumers).map(|call| api(&call.replace("{}", stream))).collect()
}

/// What a service says, of the tenants of `scope` (`<part>.<tenant>`).
fn facts(service: &str, scope: &str) -> Vec<String> {
    let said = Noun::ALL.into_iter().filter(|noun| noun.said_by().contains(&service));
    let mut subjects: Vec<String> = said
        .map(|noun| match noun {
            Noun::Timer => format!("mw.{scope}.timer.{service}.>"),
            Noun::Cut => format!("mw.*.all.cut.{service}"),
            said => format!("mw.{scope}.{}.>", said.token()),
        })
        .collect();
    if !subjects.is_empty() {
        // Telling repeated facts apart ends in a commit to this one that never takes place, and reading back what
        // an earlier process stored makes consumers with names of the client's.
        subjects.push(NEVER_SUBJECT.into());
        subjects.push(api(&format!("CONSUMER.CREATE.{LOG}.*")));
    }
    subjects
}

/// Reading one person of a tenant at a time: where a subscriber with a static address answers. Unlike a request to the
/// stream's leader this one names the tenant in its subject.
fn a_person(tenant: &str) -> String {
    api(&format!("DIRECT.GET.{}.personal.{tenant}.*", personal::STREAM))
}

/// Under which names a service buries what it cannot read.
fn names_of_the_dead(service: &str) -> Vec<String> {
    match service {
        "notifier" => vec![service.into(), "notifier-deliveries".into()],
        // Its one model, kept up or told again, and the time series.
        "projector" => {
            ["projector-read_models", "rebuild-read_models", "projector-series"].map(Into::into).into()
        }
        _ => vec![service.into()],
    }
}

fn deciding(service: &str) -> Vec<String> {
    // A start passes over what was buried.
    read(dead::STREAM).into_iter().chain(leases(service)).collect()
}

/// Taking part in the leases of a group. The bucket lies in memory, so whoever needs it makes it again.
fn leases(group: &str) -> Vec<String> {
    let stream = format!("KV_{LEASES}");
    let calls = [
        format!("STREAM.INFO.{stream}"),
        format!("STREAM.CREATE.{stream}"),
        format!("STREAM.UPDATE.{stream}"),
        format!("CONSUMER.CREATE.{stream}"),
        format!("CONSUMER.INFO.{stream}.*"),
        format!("CONSUMER.DELETE.{stream}.*"),
        format!("DIRECT.GET.{stream}.$KV.{LEASES}.{group}.>"),
    ];
    let mut subjects: Vec<String> = calls.iter().map(|call| api(call)).collect();
    subjects.push(format!("$KV.{LEASES}.{group}.>"));
    subjects.push(format!("$JS.FC.{stream}.>"));
    subjects.push(of_account());
    subjects
}

/// Taking and confirming jobs by the shared consumer of a worker.
fn work(stream: &str, worker: &str) -> [String; 2] {
    [api(&format!("CONSUMER.CREATE.{stream}.{worker}")), format!("$JS.ACK.{stream}.{worker}.>")]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{
        prelude::*,
        sample::{select, subsequence},
    };

    const ALL: [&str; 8] =
        ["ingest", "poller", "diagnostician", "correlator", "notifier", "reconciler", "projector", "console"];

    /// Something that some service publishes, with other tokens in the places of its wildcards; or almost that.
    fn any_subject() -> impl Strategy<Value = String> {
        let open: Vec<String> = ALL.into_iter().flat_map(|name| service(name).publish).collect();
        let token = || select(vec!["LOG", "PERSONAL", "poller", "health", "toy", "7"]);
        (select(open), token(), token(), any::<bool>()).prop_map(|(subject, star, rest, other_head)| {
            let filled = subject.replace('*', star).replace('>', rest);
            if other_head { filled.replacen("mw", star, 1) } else { filled }
        })
    }

    fn may_publish(user: &User, subject: &str) -> bool {
        user.publish.iter().any(|allowed| crate::read::lets_pass(allowed, subject))
    }

    #[test]
    fn a_belief_has_one_who_says_it() {
        for noun in [Noun::Suspicion, Noun::Health, Noun::Incident, Noun::Notice, Noun::Answer] {
            assert_eq!(noun.said_by().len(), 1, "{noun:?}");
        }
    }

    #[test]
    fn a_point_of_presence_speaks_for_its_own_tenants_only() {
        let (own, other) = (TenantId::of("hillside"), TenantId::of("valley"));
        let user = point_of_presence("north", &[own]);
        let subject =
            |tenant: TenantId, noun: Noun| format!("mw.{}.{tenant}.{}.x", partition_of(tenant), noun.token());
        for noun in Noun::ALL {
            let is_said = matches!(noun, Noun::Answer | Noun::Signal | Noun::View);
            assert_eq!(may_publish(&user, &subject(own, noun)), is_said, "{noun:?}");
            assert!(!may_publish(&user, &subject(other, noun)), "{noun:?}");
        }
        let person = |tenant: TenantId| format!("$JS.API.DIRECT.GET.PERSONAL.personal.{tenant}.n");
        assert!(may_publish(&user, &person(own)) && !may_publish(&user, &person(other)));
        assert!(may_publish(&user, "$KV.LEASES.poller.north.table"));
        assert!(!may_publish(&user, "$KV.LEASES.poller.south.table"));
        assert_eq!(user.subscribe, ["_INBOX_poller-north.>"]);
        assert_eq!(user.password_variable(), "MASTWATCH_NATS_PASSWORD_POLLER_NORTH");
    }

    proptest! {
        /// A subject is open to a process exactly if it is open to a service in it.
        #[test]
        fn a_process_may_do_what_one_of_its_services_may_and_nothing_else(
            members in subsequence(ALL.to_vec(), 0..=ALL.len()), subject in any_subject(),
        ) {
            let users: Vec<User> = members.iter().map(|name| service(name)).collect();
            let user = together("edge", &users);
            let one_may = users.iter().any(|one| may_publish(one, &subject));
            prop_assert_eq!(may_publish(&user, &subject), one_may, "{} {:?}", subject, members);
            prop_assert_eq!(user.subscribe, vec!["_INBOX_edge.>".to_owned()]);
        }
    }

    #[test]
    fn a_decider_moves_its_own_position_only() {
        let user = service("correlator");
        assert!(may_publish(&user, "mw.3.all.cut.correlator"));
        assert!(!may_publish(&user, "mw.3.all.cut.notifier"));
        assert!(!may_publish(&user, "mw.3.t.timer.notifier.x"));
        assert!(!may_publish(&user, "$JS.API.STREAM.DELETE.LOG"));
        assert!(!may_publish(&user, "$JS.API.STREAM.PURGE.LOG"));
    }

    #[test]
    fn persons_are_read_by_who_needs_them_and_changed_by_console_alone() {
        for name in ["ingest", "poller", "diagnostician", "correlator", "notifier", "projector", "reconciler"]
        {
            let user = service(name);
            assert!(
                !may_publish(&user, "personal.t.n") && !may_publish(&user, "$JS.API.STREAM.PURGE.PERSONAL")
            );
            assert!(!may_publish(&user, "$JS.API.CONSUMER.CREATE.PERSONAL"), "{name} follows persons");
            let reads = may_publish(&user, "$JS.API.STREAM.MSG.GET.PERSONAL");
            assert_eq!(reads, name == "reconciler", "{name}");
            let reads_one = may_publish(&user, "$JS.API.DIRECT.GET.PERSONAL.personal.t.n");
            assert_eq!(reads_one, name == "poller", "{name}");
            assert!(
                !may_publish(&user, "$JS.API.DIRECT.GET.PERSONAL"),
                "{name} reads persons by their number"
            );
        }
        assert!(may_publish(&service("console"), "personal.t.n"));
    }

    #[test]
    fn nobody_but_setup_declares_streams_of_facts() {
        for name in ["ingest", "poller", "diagnostician", "correlator", "notifier", "projector", "console"] {
            for call in ["$JS.API.STREAM.CREATE.LOG", "$JS.API.STREAM.UPDATE.LOG"] {
                assert!(!may_publish(&service(name), call), "{name} {call}");
                assert!(may_publish(&setup(), call));
            }
        }
    }
}
