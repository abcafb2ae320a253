//! Those whom a router sees, and of whom one of its netwatch entries speaks.
//!
//! An entry belongs to the child that its comment names (`mastwatch:<file id>`, or `nms:<file id>` of another
//! monitor), else to the one with its address if no other child has it, else to the one it is called after.

use crate::plan::Menu;
use events::NodeId;
use std::{collections::BTreeMap, net::IpAddr};

/// What a comment of another monitor begins with, whose entries are taken for ours.
const FOREIGN_MARK: &str = "nms:";

/// Those whom a router sees, by the names under which it may know them.
#[derive(Debug, Clone, Default)]
pub struct Children {
    /// None where two of them have the same one.
    by_address: BTreeMap<IpAddr, Option<NodeId>>,
    by_file_id: BTreeMap<String, NodeId>,
}

impl Children {
    /// Each with its id in the network file, and where it answers.
    pub fn of<'a>(all: impl IntoIterator<Item = (NodeId, &'a str, Option<IpAddr>)>) -> Self {
        let mut children = Self::default();
        for (node, file_id, address) in all {
            children.by_file_id.insert(file_id.to_owned(), node);
            if let Some(address) = address {
                children.by_address.entry(address).and_modify(|known| *known = None).or_insert(Some(node));
            }
        }
        children
    }

    /// The one with this address, if there is one and no other has it.
    pub fn at(&self, address: IpAddr) -> Option<NodeId> {
        self.by_address.get(&address).copied().flatten()
    }

    /// The one with this id in the network file.
    pub fn called(&self, file_id: &str) -> Option<NodeId> {
        self.by_file_id.get(file_id).copied()
    }

    /// The one whom the comment of a row names.
    pub fn marked(&self, comment: &str) -> Option<NodeId> {
        let comment = comment.trim();
        let (_, mark) = Menu::Netwatch.marker();
        let rest = comment.strip_prefix(mark).or_else(|| comment.strip_prefix(FOREIGN_MARK))?;
        self.called(rest.split_whitespace().next()?)
    }

    /// The one of whom a netwatch entry speaks: its comment, whom it watches (an address, perhaps with what follows
    /// `@` or `%`), and what it is called.
    pub fn of_entry(&self, comment: &str, host: &str, name: Option<&str>) -> Option<NodeId> {
        let address = || host.split(['@', '%']).next()?.parse().ok();
        let by_address = || self.at(address()?);
        self.marked(comment).or_else(by_address).or_else(|| self.called(name?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use events::TenantId;

    fn id(file_id: &str) -> NodeId {
        NodeId::of(TenantId::of("hillside"), file_id)
    }

    #[test]
    fn an_entry_belongs_to_whom_its_comment_address_or_name_says() {
        let at = |last: u8| Some(IpAddr::from([10, 0, 0, last]));
        let all = [("ap-1", at(1)), ("ap-2", at(2)), ("ap-3", None), ("ap-4", at(9)), ("ap-5", at(9))];
        let children = Children::of(all.iter().map(|(file_id, address)| (id(file_id), *file_id, *address)));
        for (comment, host, name, whose) in [
            ("mastwatch:ap-2 do not touch", "10.0.0.1", None, Some("ap-2")),
            (" nms:ap-2", "10.0.0.1", Some("ap-3"), Some("ap-2")),
            ("the roof", "10.0.0.1@vrf-main", None, Some("ap-1")),
            ("", "10.0.0.1%ether1", Some("ap-3"), Some("ap-1")),
            ("mastwatch:gone", "ap3.example", Some("ap-3"), Some("ap-3")),
            ("", "10.0.0.9", None, None), // Two have it.
            ("", "8.8.8.8", Some("resolver"), None),
        ] {
            assert_eq!(children.of_entry(comment, host, name), whose.map(id), "{comment} {host} {name:?}");
        }
    }
}
