//! How the inventory differs from a file, and what a file may not take away.

use super::{ImportError, Importer, Ready, Wrong};
use crate::laid::{Key, Laid, like, members_of};
use events::{Inventory, NodeId, TenantId};
use std::collections::HashSet;

/// How the inventory differs from the file.
#[derive(Default)]
pub(super) struct Difference {
    pub(super) things: Vec<Inventory>,
    pub(super) created: usize,
    pub(super) changed: usize,
    pub(super) removed: usize,
    pub(super) unchanged: usize,
    /// Nodes that are not the file's and that it does not name.
    pub(super) left_alone: Vec<NodeId>,
}

pub(super) fn difference(ready: &Ready, laid: &Laid) -> Difference {
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

impl Importer {
    /// Nodes that stay although the file does not name them, and need something that goes with it.
    pub(super) async fn orphaned(
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
            let Some(node) = self.inventories.node(laid, *id).await? else { continue };
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
}
