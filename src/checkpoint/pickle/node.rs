//! The values of a pickle while it is read: nodes that refer to each other by number.

use std::sync::Arc;

use super::value::{Storage, StoredTensor, Value};

/// The index of a node.
#[derive(Debug, Clone, Copy)]
pub(super) struct Id(usize);

/// A value whose parts are other nodes.
#[derive(Debug)]
pub(super) enum Node {
    /// A value without parts.
    Plain(Value),
    Int(i64),
    Text(Arc<str>),
    List(Vec<Id>),
    Tuple(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Global(Arc<str>),
    Storage {
        storage: Arc<Storage>,
        view_offset: usize,
    },
    Tensor(Arc<StoredTensor>),
    Opaque {
        name: Arc<str>,
        state: Option<Id>,
    },
}

/// All nodes made so far.
#[derive(Debug, Default)]
pub(super) struct Nodes(Vec<Node>);

impl Nodes {
    /// The node; ids are only ever made by `push`, so that it exists.
    pub(super) fn at(&self, id: Id) -> &Node {
        &self.0[id.0]
    }

    /// The same, to fill it.
    pub(super) fn at_mut(&mut self, id: Id) -> &mut Node {
        &mut self.0[id.0]
    }

    /// Adds a node.
    pub(super) fn push(&mut self, node: Node) -> Id {
        self.0.push(node);
        Id(self.0.len() - 1)
    }
}
