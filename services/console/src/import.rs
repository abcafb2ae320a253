//! A network file becomes what the network is: all of it or nothing, and the same file once.
//!
//! The file is read whole, checked as a graph, and held against the inventory as the log has it now. What
//! differs is said in one commit that ends with the next revision, and that commit fails when anybody
//! changed the inventory meanwhile; then all is begun again. What is more than a commit holds is laid
//! down as parts first, which mean nothing until a revision names them: whoever tries again lays
//! down only what is missing.
//!
//! The file is the whole truth about sites, nodes and tokens it brought: what it no longer names is
//! said to be no more. Channels are left alone by a file that names none, and nodes that people added one by one
//! by a file that does not name them; one that would take away what such a node needs is refused.

mod entitled;

use self::entitled::with_address;
use crate::{
    access::{AccessError, Held, Register},
    laid::{Inventories, Key, Laid, LaidError, Like, like, revision_subject},
};
use domain::{Graph, Problem};
use events::{
    Entitled, EventId, Fact, Group, Inventory, LookUpKey, Member, NodeId, Noun, Part, Revision,
    RevisionSource, Say, Sealed, Subject, TenantId, Time, Token,
};
use kit::{
    Filter, Log, LogError, Outgoing, PublishError, commit::COMMIT_MESSAGES_MAX, message::EVENT_BYTES_MAX,
};
use network_file::{Import, NetworkFile, OnlyWrittenOut, Position};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
    time::Duration,
};
use utoipa::ToSchema;
use vault::TenantKeys;

/// What tokens that a file brought are said by, before who imported it.
const BY_FILE: &str = "network file";
/// The most that a part's things take, so that its envelope fits too.
const PART_BYTES: usize = EVENT_BYTES_MAX - 1_024;
/// The most that is said in one commit without parts, bytes.
const COMMIT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How many parts are stored at once: 4 MiB.
const PARTS_AT_ONCE: usize = 64;
/// How often an import is begun again because somebody else changed the inventory meanwhile.
const ATTEMPTS: u32 = 4;
/// How long storing may take, each time.
const STORE_WITHIN: Duration = Duration::from_secs(30);
/// Parts that no revision has named for this long are forgotten.
const PARTS_KEPT_MS: i64 = 24 * 3_600_000;

/// What came of an import.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Imported {
    /// The tenant's slug.
    pub tenant: String,
    /// The number of the revision that is in force after it.
    pub revision: u64,
    /// Whether a new revision was made.
    pub committed: bool,
    /// Whether it was only asked what would happen.
    pub dry_run: bool,
    /// Sites, nodes and channels that are new.
    pub created: usize,
    /// Those that are other than before.
    pub changed: usize,
    /// Those that are no more.
    pub removed: usize,
    /// Those that are as before.
    pub unchanged: usize,
    /// Nodes that people added one by one and that the file does not name: they stay.
    pub left_alone: usize,
    /// Tokens that open something now, or something else than before.
    pub tokens_granted: usize,
    /// Tokens that the file no longer names.
    pub tokens_revoked: usize,
    /// Public parts of tokens that the file names and that somebody revoked: they stay revoked.
    pub tokens_left_revoked: Vec<String>,
    /// Subscribers whose personal data was stored.
    pub persons_stored: usize,
    /// Subscribers whose personal data was forgotten.
    pub persons_forgotten: usize,
    /// Subscribers who are entitled to something else than before.
    pub entitlements_set: usize,
    /// In how many parts it was laid down; 0: in one commit.
    pub parts: usize,
}

/// One thing that is wrong with a network file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Wrong {
    /// The file, as it was named.
    pub file: String,
    /// Which line, from 1.
    pub line: u32,
    /// Which character of the line, from 1.
    pub column: u32,
    /// What is wrong.
    pub message: String,
    /// What would be right, when that can be said.
    pub hint: Option<String>,
}

/// Why a file was not imported. Nothing of it is in force then, but where it says otherwise.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImportError {
    #[error("the network file is wrong")]
    Wrong { wrong: Vec<Wrong>, more: bool },
    /// The caller's token is of another tenant than the file.
    #[error("the file is of the tenant `{file}`")]
    Elsewhere { file: String },
    /// It was made on a revision that is not the last one any more.
    #[error("the inventory is at revision {now}")]
    Moved { now: u64 },
    /// Others change the inventory all the time.
    #[error("the inventory changed {ATTEMPTS} times meanwhile")]
    Contended,
    #[error(transparent)]
    Access(#[from] AccessError),
    #[error(transparent)]
    Publish(#[from] PublishError),
    #[error(transparent)]
    Log(#[from] LogError),
    /// The revision is in force, but what follows it is not complete.
    #[error("revision {revision} is in force, but {what} were not all stored: import the file again")]
    Half { revision: u64, what: &'static str, reason: String },
    /// A thing is not where it lay.
    #[error(transparent)]
    Laid(#[from] LaidError),
    /// A part is not what was laid down.
    #[error("part {n} of the import `{digest}` is not what was laid down")]
    Part { digest: String, n: u32 },
}

/// Who imports, and how.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// What the file is called in messages.
    pub(crate) file: String,
    /// The one tenant that the caller may change; none: any.
    pub(crate) only: Option<TenantId>,
    /// Who it is.
    pub(crate) by: String,
    /// Whether nothing is to be changed.
    pub(crate) dry_run: bool,
    /// The revision it was made on, if the caller cares.
    pub(crate) base: Option<u64>,
}

/// Imports files.
#[derive(Debug, Clone)]
pub(crate) struct Importer {
    log: Log,
    register: Arc<Register>,
    inventories: Arc<Inventories>,
}

/// A file, read and sealed.
struct Ready {
    file: NetworkFile,
    import: Import,
    likes: Vec<(Key, Like)>,
    drawn: Option<LookUpKey>,
    keys: TenantKeys,
    text_digest: String,
}

/// How the inventory differs from the file.
#[derive(Default)]
struct Difference {
    things: Vec<Inventory>,
    created: usize,
    changed: usize,
    removed: usize,
    unchanged: usize,
    /// Nodes that are not the file's and that it does not name.
    left_alone: Vec<NodeId>,
}

/// How the tokens differ from the file.
#[derive(Default)]
struct TokenDifference {
    said: Vec<Token>,
    granted: usize,
    revoked: usize,
    left_revoked: Vec<String>,
}

/// How personal data differs from the file.
#[derive(Default)]
struct PersonDifference {
    stored: Vec<(NodeId, Sealed)>,
    forgotten: Vec<NodeId>,
}

impl Importer {
    pub(crate) fn new(log: &Log, register: Arc<Register>, inventories: Arc<Inventories>) -> Self {
        Self { log: log.within(STORE_WITHIN), register, inventories }
    }

    /// Imports `text`, or says what importing it would do.
    pub(crate) async fn import(&self, text: String, asked: &Asked) -> Result<Imported, ImportError> {
        let (file, text_digest) = read(text, asked.file.clone()).await?;
        let tenant = file.tenant_id();
        if asked.only.is_some_and(|only| only != tenant) {
            return Err(ImportError::Elsewhere { file: file.tenant.slug });
        }
        let mut file = Some(file);
        let mut ready: Option<Ready> = None;
        for _ in 0..ATTEMPTS {
            if ready.as_ref().is_none_or(|ready| ready.drawn.is_some()) {
                let file = file.take().or_else(|| ready.take().map(|ready| ready.file));
                let file = file.expect("the file is here or in what was made of it");
                ready = Some(self.prepare(file, text_digest.clone(), asked).await?);
            }
            let ready = ready.as_ref().expect("it was made just now or before");
            match self.attempt(tenant, ready, asked).await {
                Err(
                    ImportError::Publish(PublishError::Conflict { .. })
                    | ImportError::Access(AccessError::Publish(PublishError::Conflict { .. })),
                ) => {}
                settled => return settled,
            }
        }
        Err(ImportError::Contended)
    }

    /// Seals the file under the tenant's keys, and checks it as a graph.
    async fn prepare(
        &self,
        file: NetworkFile,
        text_digest: String,
        asked: &Asked,
    ) -> Result<Ready, ImportError> {
        let tenant = file.tenant_id();
        let (keys, drawn) = match self.register.keys(tenant).await? {
            Some(keys) => (keys, None),
            None => {
                let (keys, drawn) = self.register.draw_keys(tenant);
                (keys, Some(drawn))
            }
        };
        let name = asked.file.clone();
        blocking(move || {
            let import = sealed(&file, &keys);
            let wrong = problems_of(&file, &import, &name);
            if !wrong.is_empty() {
                return Err(ImportError::Wrong { wrong, more: false });
            }
            let likes = import.things.iter().filter_map(|thing| Some((Key::of(thing), like(thing)?)));
            let likes = likes.collect();
            Ok(Ready { file, import, likes, drawn, keys, text_digest })
        })
        .await
    }

    async fn attempt(&self, tenant: TenantId, ready: &Ready, asked: &Asked) -> Result<Imported, ImportError> {
        // Let go before anything is said: the commit is fenced by the place of this revision.
        let laid = self.inventories.now(tenant).await?;
        let (number, after_seq) = (laid.number(), laid.revision_seq);
        if let Some(base) = asked.base
            && base != number
        {
            return Err(ImportError::Moved { now: number });
        }
        let difference = difference(ready, &laid);
        let wrong = self.orphaned(tenant, &laid, &difference, &asked.file).await?;
        if !wrong.is_empty() {
            return Err(ImportError::Wrong { wrong, more: false });
        }
        let forsaken = laid.forsaken(crate::now().plus_ms(-PARTS_KEPT_MS));
        drop(laid);
        let tokens = self.token_difference(tenant, ready, asked)?;
        let entitlements = self.entitlement_difference(tenant, &ready.import).await?;
        let persons = self.person_difference(tenant, ready, &entitlements).await?;
        let is_change = !difference.things.is_empty() || !tokens.said.is_empty();
        let mut done = Imported {
            tenant: ready.file.tenant.slug.clone(),
            revision: number,
            committed: false,
            dry_run: asked.dry_run,
            created: difference.created,
            changed: difference.changed,
            removed: difference.removed,
            unchanged: difference.unchanged,
            left_alone: difference.left_alone.len(),
            tokens_granted: tokens.granted,
            tokens_revoked: tokens.revoked,
            tokens_left_revoked: tokens.left_revoked,
            persons_stored: persons.stored.len(),
            persons_forgotten: persons.forgotten.len(),
            entitlements_set: entitlements.len(),
            parts: 0,
        };
        if asked.dry_run {
            return Ok(done);
        }
        if let Some(drawn) = &ready.drawn {
            self.register.say_keys(tenant, drawn.clone(), &asked.by).await?;
        }
        if is_change {
            let change = Change {
                tenant,
                number: number + 1,
                after_seq,
                file_digest: Some(ready.text_digest.clone()),
                by: asked.by.clone(),
            };
            done.parts = self.commit(&change, difference.things, tokens.said, None).await?;
            done.revision = change.number;
            done.committed = true;
        }
        self.put_persons(tenant, done.revision, persons).await?;
        self.say_entitlements(tenant, &done, entitlements, &asked.by).await?;
        if done.committed {
            self.forget_forsaken(tenant, forsaken).await;
        }
        Ok(done)
    }

    /// Nodes that stay although the file does not name them, and need something that goes with it.
    async fn orphaned(
        &self,
        tenant: TenantId,
        laid: &Laid,
        difference: &Difference,
        file: &str,
    ) -> Result<Vec<Wrong>, ImportError> {
        let gone: HashSet<Key> =
            difference.things.iter().filter(|thing| like(thing).is_none()).map(Key::of).collect();
        if gone.is_empty() {
            return Ok(vec![]);
        }
        let mut wrong = Vec::new();
        for id in &difference.left_alone {
            let Some(Inventory::Node(node)) = self.inventories.thing(laid, Key::Node(*id)).await? else {
                continue;
            };
            let mut needed: Vec<Key> = node.seen_by.map(Key::Node).into_iter().collect();
            needed.extend(node.site.map(Key::Site));
            node.needs
                .iter()
                .for_each(|group| members_of(group, &mut |member| needed.push(Key::Node(member))));
            if needed.iter().any(|key| gone.contains(key)) {
                tracing::debug!(%tenant, node = node.file_id, "a file would take away what this node needs");
                wrong.push(Wrong {
                    file: file.to_owned(),
                    line: 1,
                    column: 1,
                    message: format!(
                        "`{}` was added by hand, and the file does not name what it hangs on any more",
                        node.file_id
                    ),
                    hint: Some(format!(
                        "name that in the file, or remove it first: `mastwatch router remove {}`",
                        node.file_id
                    )),
                });
            }
        }
        Ok(wrong)
    }

    /// Says a change that is small: one that a person made by hand, with its tokens and what belongs to it. All of it
    /// or nothing. Gives the places of `beside`.
    pub(crate) async fn change(
        &self,
        change: &Change,
        things: Vec<Inventory>,
        tokens: Vec<Token>,
        beside: Vec<Outgoing>,
    ) -> Result<Vec<u64>, ImportError> {
        let mut laid = Small { beside, places: vec![] };
        self.commit(change, things, tokens, Some(&mut laid)).await?;
        Ok(laid.places)
    }

    /// Says everything that differs; returns in how many parts.
    async fn commit(
        &self,
        change: &Change,
        things: Vec<Inventory>,
        mut tokens: Vec<Token>,
        small: Option<&mut Small>,
    ) -> Result<usize, ImportError> {
        let tenant = change.tenant;
        let sizes: Vec<usize> = things.iter().map(bytes_of).collect();
        let fits = things.len() < COMMIT_MESSAGES_MAX && sizes.iter().sum::<usize>() <= COMMIT_BYTES_MAX;
        let digest = digest_of(change.number, &things);
        let revision_id = following(tenant, &format!("revision-{}-{digest}", change.number));
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let (source, said, parts) = if fits {
            let source = RevisionSource::Commit { count: count(things.len()) };
            let said = things.into_iter().map(|thing| {
                let id = EventId::following(revision_id, crate::SOURCE, &thing.key());
                outgoing(tenant, id, Some(revision_id), Fact::Inventory(thing))
            });
            (source, said.collect::<Vec<_>>(), 0)
        } else {
            let parts = split(&digest, things, &sizes);
            let number = parts.len();
            self.lay(tenant, &digest, parts).await?;
            (RevisionSource::Parts { digest: digest.clone(), count: count(number) }, vec![], number)
        };
        let room = COMMIT_MESSAGES_MAX - 1 - said.len();
        let later = tokens.split_off(tokens.len().min(room));
        let first_token = said.len();
        let mut outs = said;
        outs.extend(tokens.iter().map(|token| token_out(change, revision_id, token)));
        let first_beside = outs.len();
        let beside_count = small.as_ref().map_or(0, |small| small.beside.len());
        outs.extend(small.iter().flat_map(|small| small.beside.iter().cloned()));
        let revision = Revision {
            number: change.number,
            source,
            file_digest: change.file_digest.clone(),
            by: change.by.clone(),
        };
        outs.push(outgoing(tenant, revision_id, None, Fact::Revision(revision)));
        let stored = self.log.commit(outs, Some((&revision_subject(tenant), change.after_seq))).await?;
        for (token, at) in tokens.into_iter().zip(stored.iter().skip(first_token)) {
            self.register.remember_token(tenant, token, &change.token_by(), at.seq);
        }
        if let Some(small) = small {
            small.places = stored.iter().skip(first_beside).take(beside_count).map(|at| at.seq).collect();
        }
        self.say_tokens(change, revision_id, later).await?;
        Ok(parts)
    }

    /// Says the tokens that had no room in the commit: a token for a network that is in force already.
    async fn say_tokens(
        &self,
        change: &Change,
        revision_id: EventId,
        tokens: Vec<Token>,
    ) -> Result<(), ImportError> {
        for tokens in tokens.chunks(COMMIT_MESSAGES_MAX) {
            let outs = tokens.iter().map(|token| token_out(change, revision_id, token)).collect();
            let stored = self.log.publish_all(outs).await.map_err(|error| ImportError::Half {
                revision: change.number,
                what: "tokens",
                reason: error.to_string(),
            })?;
            for (token, at) in tokens.iter().zip(stored) {
                self.register.remember_token(change.tenant, token.clone(), &change.token_by(), at.seq);
            }
        }
        Ok(())
    }

    /// Lays down those parts that are not there yet, then reads all of them back.
    async fn lay(&self, tenant: TenantId, digest: &str, parts: Vec<Part>) -> Result<(), ImportError> {
        let there: HashSet<u32> = self.parts_there(tenant, digest).await?;
        let missing: Vec<&Part> = parts.iter().filter(|part| !there.contains(&part.n)).collect();
        for parts in missing.chunks(PARTS_AT_ONCE) {
            let outs = parts.iter().map(|part| {
                let id = following(tenant, &format!("part-{digest}-{}", part.n));
                outgoing(tenant, id, None, Fact::Part((*part).clone()))
            });
            self.log.publish_all(outs.collect()).await?;
        }
        for part in &parts {
            let lost = || ImportError::Part { digest: digest.to_owned(), n: part.n };
            let subject = Subject::new(tenant, Noun::Part, format!("{digest}.{}", part.n));
            let subject = subject.expect("a digest and a number are token characters").to_string();
            let raw = self.log.last(&subject).await?.ok_or_else(lost)?;
            let read = raw.decode().map_err(|_| lost())?;
            if read.fact != Fact::Part(part.clone()) {
                return Err(lost());
            }
        }
        Ok(())
    }

    async fn parts_there(&self, tenant: TenantId, digest: &str) -> Result<HashSet<u32>, LogError> {
        let filter = Filter::noun(Noun::Part).tenant(tenant).below(digest);
        let mut reader = self.log.last_per_subject(&[filter]).await?;
        let mut there = HashSet::new();
        while let Some(raw) = reader.next().await? {
            there.extend(raw.subject.rsplit('.').next().and_then(|n| n.parse::<u32>().ok()));
        }
        Ok(there)
    }

    fn token_difference(
        &self,
        tenant: TenantId,
        ready: &Ready,
        asked: &Asked,
    ) -> Result<TokenDifference, ImportError> {
        let held = self.register.tokens(tenant);
        let mut found = TokenDifference::default();
        let mut wrong = Vec::new();
        let mut named = BTreeSet::new();
        for token in &ready.import.tokens {
            named.insert(token.prefix.as_str());
            if self.register.is_taken(&token.prefix, tenant) {
                wrong.push(taken(&ready.file, &asked.file, &token.prefix));
                continue;
            }
            match held.get(&token.prefix).map(Arc::as_ref) {
                Some(held) if held.token == *token => {}
                Some(held) if held.token.revoked && !is_from_file(held) => {
                    found.left_revoked.push(token.prefix.clone());
                }
                Some(held) if !is_from_file(held) && held.token.sha256 != token.sha256 => {
                    wrong.push(taken(&ready.file, &asked.file, &token.prefix));
                }
                Some(_) | None => {
                    found.granted += 1;
                    found.said.push(token.clone());
                }
            }
        }
        if !wrong.is_empty() {
            return Err(ImportError::Wrong { wrong, more: false });
        }
        for held in held.values() {
            let is_gone = !named.contains(held.token.prefix.as_str());
            if is_gone && is_from_file(held) && !held.token.revoked {
                found.revoked += 1;
                found.said.push(Token { revoked: true, ..held.token.clone() });
            }
        }
        Ok(found)
    }

    async fn person_difference(
        &self,
        tenant: TenantId,
        ready: &Ready,
        entitlements: &[Entitled],
    ) -> Result<PersonDifference, ImportError> {
        let mut there: BTreeMap<NodeId, Sealed> = self.log.personal(tenant).await?;
        let mut found = PersonDifference::default();
        let anew: BTreeSet<NodeId> = entitlements.iter().map(|entitled| entitled.node).collect();
        for person in &ready.import.persons {
            let before = there.remove(&person.node);
            if before.as_ref() == Some(&person.sealed) {
                continue;
            }
            // Where the file says something new, it says the address too.
            let kept = before.as_ref().filter(|_| !anew.contains(&person.node));
            let sealed = kept.and_then(|before| with_address(&ready.keys, person, before));
            let sealed = sealed.unwrap_or_else(|| person.sealed.clone());
            if before.as_ref() != Some(&sealed) {
                found.stored.push((person.node, sealed));
            }
        }
        found.forgotten = there.into_keys().collect();
        Ok(found)
    }

    async fn put_persons(
        &self,
        tenant: TenantId,
        revision: u64,
        persons: PersonDifference,
    ) -> Result<(), ImportError> {
        let half = |reason: String| ImportError::Half { revision, what: "personal data", reason };
        self.log.put_personal(tenant, persons.stored).await.map_err(|e| half(e.to_string()))?;
        for node in persons.forgotten {
            self.log.purge_personal(tenant, node).await.map_err(|e| half(e.to_string()))?;
        }
        Ok(())
    }

    /// Forgets the parts of imports that never took effect, after our own commit: whoever still means to
    /// name them finds that the revision has moved on.
    async fn forget_forsaken(&self, tenant: TenantId, digests: Vec<String>) {
        for digest in digests {
            match self.log.purge_parts(tenant, &digest).await {
                Ok(()) => self.inventories.purged(tenant, &digest).await,
                Err(error) => tracing::warn!(%error, digest, "parts of no revision are kept a while longer"),
            }
        }
    }
}

/// What is said together with a small change, and where that came to lie.
struct Small {
    beside: Vec<Outgoing>,
    places: Vec<u64>,
}

/// A change of the inventory, and what it is made on.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) tenant: TenantId,
    /// The number of the revision it makes.
    pub(crate) number: u64,
    /// The place of the revision it was made on; 0: there was none.
    pub(crate) after_seq: u64,
    pub(crate) file_digest: Option<String>,
    pub(crate) by: String,
}

impl Change {
    /// The next change of an inventory, made by hand.
    pub(crate) fn by_hand(tenant: TenantId, laid: &Laid, by: &str) -> Self {
        Self {
            tenant,
            number: laid.number() + 1,
            after_seq: laid.revision_seq,
            file_digest: None,
            by: by.to_owned(),
        }
    }

    /// By whom tokens are said that come with it: a file's go with the file.
    fn token_by(&self) -> String {
        if self.file_digest.is_some() { by_file(&self.by) } else { self.by.clone() }
    }
}

/// Calls `each` for every node in a group and in the groups in it.
pub(crate) fn members_of(group: &Group, each: &mut impl FnMut(NodeId)) {
    for member in &group.members {
        match member {
            Member::Node(id) => each(*id),
            Member::Group(group) => members_of(group, each),
        }
    }
}

async fn read(text: String, name: String) -> Result<(NetworkFile, String), ImportError> {
    blocking(move || match network_file::parse(&name, &text, &OnlyWrittenOut) {
        Ok(file) => Ok((file, vault::sha256_hex(text.as_bytes()))),
        Err(problems) => {
            let wrong = problems.found.into_iter().map(|problem| Wrong {
                file: problems.file.clone(),
                line: problem.at.line,
                column: problem.at.column,
                message: problem.what,
                hint: problem.hint,
            });
            Err(ImportError::Wrong { wrong: wrong.collect(), more: problems.more })
        }
    })
    .await
}

/// Runs what keeps a processor busy away from those who answer requests.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

fn sealed(file: &NetworkFile, keys: &TenantKeys) -> Import {
    file.to_inventory(keys).expect("the keys were taken from the file's tenant")
}

/// What is wrong with the file as a graph, where in the file it says so.
fn problems_of(file: &NetworkFile, import: &Import, name: &str) -> Vec<Wrong> {
    let mut graph = Graph::default();
    for thing in &import.things {
        if let Inventory::Node(node) = thing {
            graph.put(node.as_ref().clone());
        }
    }
    graph.knit();
    let of = |problem: Problem| {
        let (node, hint) = match &problem {
            Problem::UnknownMember { node, .. } => (node, "name a device, link or subscriber of this file"),
            Problem::NeverSupplied { node, .. } => {
                (node, "give one of them a way up to something that needs nothing")
            }
            Problem::TooMany { node, .. } => (node, "name more members, or ask for fewer"),
        };
        let at = place_of(file, node);
        let hint = Some(hint.to_owned());
        Wrong { file: name.to_owned(), line: at.line, column: at.column, message: problem.to_string(), hint }
    };
    graph.problems().into_iter().map(of).collect()
}

fn place_of(file: &NetworkFile, id: &str) -> Position {
    let subscriber = || file.subscribers.iter().find(|s| s.account == id).map(|s| s.at);
    file.node(id).map(|node| node.at).or_else(subscriber).unwrap_or_default()
}

fn taken(file: &NetworkFile, name: &str, prefix: &str) -> Wrong {
    let is_it = |token: &network_file::Secret| vault::prefix_of(token.reveal()) == Ok(prefix);
    let of_router = file.nodes.iter().find(|n| n.webhook.as_ref().is_some_and(|w| is_it(&w.token)));
    let other = || file.tokens.iter().find(|token| is_it(&token.token)).map(|token| token.at);
    let at = of_router.map(|node| node.at).or_else(other).unwrap_or_default();
    Wrong {
        file: name.to_owned(),
        line: at.line,
        column: at.column,
        message: format!("the public part `{prefix}` of this token is another token's"),
        hint: Some("make a new token".into()),
    }
}

fn difference(ready: &Ready, laid: &Laid) -> Difference {
    let mut found = Difference::default();
    let mut named = HashSet::with_capacity(ready.likes.len());
    for (thing, (key, like)) in ready.import.things.iter().zip(&ready.likes) {
        named.insert(*key);
        let counted = !matches!(key, Key::Tenant | Key::Policy);
        match laid.things.get(key) {
            Some(lies) if lies.like == *like => {
                found.unchanged += usize::from(counted);
                continue;
            }
            Some(_) => found.changed += usize::from(counted),
            None => found.created += usize::from(counted),
        }
        found.things.push(thing.clone());
    }
    let leaves_channels = ready.file.channels.is_empty();
    let mut gone: Vec<Key> = laid.things.keys().filter(|key| !named.contains(key)).copied().collect();
    gone.sort_unstable();
    for key in gone {
        match key {
            Key::Tenant | Key::Policy => continue,
            Key::Channel(_) if leaves_channels => {
                found.unchanged += 1;
                continue;
            }
            Key::Node(id) if laid.things.get(&key).is_some_and(|lies| !lies.is_file) => {
                found.left_alone.push(id);
                continue;
            }
            Key::Channel(id) => found.things.push(Inventory::ChannelRemoved { id }),
            Key::Site(id) => found.things.push(Inventory::SiteRemoved { id }),
            Key::Node(id) => found.things.push(Inventory::NodeRemoved { id }),
        }
        found.removed += 1;
    }
    found
}

fn by_file(by: &str) -> String {
    format!("{BY_FILE}, imported by {by}")
}

fn is_from_file(held: &Held) -> bool {
    held.by.starts_with(BY_FILE)
}

fn following(tenant: TenantId, what: &str) -> EventId {
    EventId::following(EventId(tenant.0), crate::SOURCE, what)
}

fn token_out(change: &Change, revision_id: EventId, token: &Token) -> Outgoing {
    let id = EventId::following(revision_id, crate::SOURCE, &format!("token-{}", token.prefix));
    Register::token_said(change.tenant, id, token.clone(), &change.token_by())
}

fn outgoing(tenant: TenantId, id: EventId, cause: Option<EventId>, fact: Fact) -> Outgoing {
    let at: Time = crate::now();
    Outgoing::new(Say { id, tenant, at, cause, fact }, crate::SOURCE)
}

fn bytes_of(thing: &Inventory) -> usize {
    serde_json::to_vec(thing).expect("what an event holds has a JSON form").len()
}

/// Names a change: by what it says and the revision it makes. So a change that is tried again finds its
/// parts, and the same change made later has parts of its own.
fn digest_of(number: u64, things: &[Inventory]) -> String {
    let mut digest = Sha256::new();
    digest.update(number.to_be_bytes());
    for thing in things {
        digest.update(serde_json::to_vec(thing).expect("what an event holds has a JSON form"));
        digest.update(b"\n");
    }
    let bytes: [u8; 32] = digest.finalize().into();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Fills parts one after the other; a thing that is larger than a part has one of its own, which the log
/// then refuses.
fn split(digest: &str, things: Vec<Inventory>, sizes: &[usize]) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    let mut room = 0;
    for (thing, size) in things.into_iter().zip(sizes) {
        if parts.is_empty() || room < size + 1 {
            let n = u32::try_from(parts.len()).unwrap_or(u32::MAX);
            parts.push(Part { digest: digest.to_owned(), n, things: vec![] });
            room = PART_BYTES;
        }
        room = room.saturating_sub(size + 1);
        parts.last_mut().expect("one was pushed").things.push(thing);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use events::{Site, SiteId};

    fn site(n: usize, name: usize) -> Inventory {
        let file_id = format!("s{n}");
        let id = SiteId::of(TenantId::of("hillside"), &file_id);
        let name = "x".repeat(name);
        Inventory::Site(Site { id, file_id, name, address: None, latitude_udeg: None, longitude_udeg: None })
    }

    #[test]
    fn parts_hold_everything_in_order_and_fit_into_an_event() {
        let things: Vec<_> = (0..500).map(|n| site(n, n * 7 % 3_000)).collect();
        let sizes: Vec<_> = things.iter().map(bytes_of).collect();
        let parts = split("ab", things.clone(), &sizes);
        assert!(parts.len() > 10);
        for (n, part) in (0..).zip(&parts) {
            assert_eq!(part.n, n);
            assert!(serde_json::to_vec(part).unwrap().len() <= EVENT_BYTES_MAX);
        }
        assert_eq!(parts.into_iter().flat_map(|part| part.things).collect::<Vec<_>>(), things);
    }

    #[test]
    fn a_change_is_named_by_what_it_says_and_when() {
        let things = [site(1, 3), site(2, 3)];
        assert_eq!(digest_of(4, &things), digest_of(4, &things));
        assert_ne!(digest_of(4, &things), digest_of(5, &things));
        assert_ne!(digest_of(4, &things), digest_of(4, &things[..1]));
    }
}
