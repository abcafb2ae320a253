//! What a file says: read as text, sealed under the tenant's keys and checked as a graph.
//!
//! Nothing here knows what the inventory is now.

use super::{Asked, ImportError, Importer, Wrong};
use crate::laid::{Key, Like, like};
use domain::{Graph, Problem};
use events::{Inventory, LookUpKey};
use network_file::{Import, NetworkFile, OnlyWrittenOut, Position};
use vault::TenantKeys;

/// A file, read and sealed.
pub(super) struct Ready {
    pub(super) file: NetworkFile,
    pub(super) import: Import,
    pub(super) likes: Vec<(Key, Like)>,
    pub(super) drawn: Option<LookUpKey>,
    pub(super) keys: TenantKeys,
    pub(super) text_digest: String,
}

impl Importer {
    /// Seals the file under the tenant's keys, and checks it as a graph.
    pub(super) async fn prepare(
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
}

pub(super) async fn read(text: String, name: String) -> Result<(NetworkFile, String), ImportError> {
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
