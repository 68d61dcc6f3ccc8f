//! The constructors that are understood, by name. This list is the whole of what a pickle can make happen.

use std::sync::Arc;

use super::node::{Id, Node, Nodes};
use super::value::{Storage, StoredTensor};
use super::{MAX_DIMENSIONS, PickleProblem};
use crate::checkpoint::tensor::ElementType;

type Problem<T> = std::result::Result<T, PickleProblem>;

/// What calling `name` with these arguments would give, as a plain value.
pub(super) fn construct(nodes: &Nodes, name: &Arc<str>, arguments: &[Id]) -> Problem<Node> {
    match name.as_ref() {
        "collections.OrderedDict" | "collections.defaultdict" | "builtins.dict" | "__builtin__.dict" => {
            dictionary(nodes, arguments)
        }
        "torch.Size" | "builtins.tuple" | "__builtin__.tuple" => Ok(Node::Tuple(items_of_first(nodes, arguments))),
        "builtins.list"
        | "__builtin__.list"
        | "builtins.set"
        | "__builtin__.set"
        | "builtins.frozenset"
        | "__builtin__.frozenset" => Ok(Node::List(items_of_first(nodes, arguments))),
        "torch._utils._rebuild_tensor" | "torch._utils._rebuild_tensor_v2" => tensor(nodes, arguments),
        "torch._utils._rebuild_parameter" | "torch._utils._rebuild_parameter_with_state" => parameter(nodes, arguments),
        // Python 2 style: the class stands in the first argument.
        "copy_reg._reconstructor" | "copyreg._reconstructor" => match arguments.first().map(|id| nodes.at(*id)) {
            Some(Node::Global(class)) => Ok(Node::Opaque { name: class.clone(), state: None }),
            _ => Ok(Node::Opaque { name: name.clone(), state: None }),
        },
        _ => Ok(Node::Opaque { name: name.clone(), state: None }),
    }
}

/// The storage that a persistent id stands for; ids of another kind are inert.
///
/// The tuple is `("storage", type, key, device, elements)`, and in old files a sixth entry: nothing, or
/// `(key, offset, elements)` of a view into the storage.
pub(super) fn persistent(nodes: &Nodes, id: Id) -> Problem<Node> {
    let fields = match nodes.at(id) {
        Node::Tuple(fields) => fields.as_slice(),
        _ => &[],
    };
    let (Some(kind), Some(class), Some(key), Some(elements)) =
        (fields.first(), fields.get(1), fields.get(2), fields.get(4))
    else {
        return Ok(opaque("persistent object"));
    };
    let (Node::Text(kind), Node::Global(class), Node::Text(key)) = (nodes.at(*kind), nodes.at(*class), nodes.at(*key))
    else {
        return Ok(opaque("persistent object"));
    };
    if kind.as_ref() != "storage" {
        return Ok(opaque("persistent object"));
    }
    let Some(stored) = storage_type(class) else {
        return Ok(Node::Opaque { name: class.clone(), state: None });
    };
    let elements = size(nodes, *elements).ok_or(PickleProblem::Arguments("storage"))?;
    let view_offset = match fields.get(5).map(|view| nodes.at(*view)) {
        Some(Node::Tuple(view)) => {
            view.get(1).and_then(|id| size(nodes, *id)).ok_or(PickleProblem::Arguments("storage view"))?
        }
        _ => 0,
    };
    Ok(Node::Storage { storage: Arc::new(Storage { key: key.clone(), stored, elements }), view_offset })
}

fn storage_type(class: &str) -> Option<ElementType> {
    let name = class.strip_prefix("torch.")?;
    match name.strip_prefix("cuda.").unwrap_or(name) {
        "FloatStorage" => Some(ElementType::F32),
        "HalfStorage" => Some(ElementType::F16),
        "BFloat16Storage" => Some(ElementType::BF16),
        "DoubleStorage" => Some(ElementType::F64),
        "LongStorage" => Some(ElementType::I64),
        "IntStorage" => Some(ElementType::I32),
        "ShortStorage" => Some(ElementType::I16),
        "CharStorage" => Some(ElementType::I8),
        "ByteStorage" => Some(ElementType::U8),
        "BoolStorage" => Some(ElementType::Bool),
        _ => None,
    }
}

fn dictionary(nodes: &Nodes, arguments: &[Id]) -> Problem<Node> {
    let pairs = items_of_first(nodes, arguments);
    let mut entries = Vec::with_capacity(pairs.len());
    for pair in pairs {
        let fields = items(nodes, pair);
        let [key, value] = fields else { return Err(PickleProblem::Arguments("dictionary")) };
        entries.push((*key, *value));
    }
    Ok(Node::Dict(entries))
}

fn tensor(nodes: &Nodes, arguments: &[Id]) -> Problem<Node> {
    const NAME: &str = "torch._utils._rebuild_tensor_v2";
    let [storage, offset, shape, stride, ..] = arguments else { return Err(PickleProblem::Arguments(NAME)) };
    let (storage, view_offset) = match nodes.at(*storage) {
        Node::Storage { storage, view_offset } => (storage, *view_offset),
        // A storage of a type that is not supported: the tensor is listed under its name.
        Node::Opaque { name, .. } => return Ok(Node::Opaque { name: name.clone(), state: None }),
        _ => return Err(PickleProblem::Arguments(NAME)),
    };
    let offset = size(nodes, *offset).and_then(|offset| offset.checked_add(view_offset));
    let view = || {
        let (shape, stride) = (sizes(nodes, *shape)?, sizes(nodes, *stride)?);
        StoredTensor::new(storage.as_ref().clone(), offset?, shape, stride)
    };
    Ok(Node::Tensor(Arc::new(view().ok_or(PickleProblem::Arguments(NAME))?)))
}

fn parameter(nodes: &Nodes, arguments: &[Id]) -> Problem<Node> {
    match arguments.first().map(|id| nodes.at(*id)) {
        Some(Node::Tensor(tensor)) => Ok(Node::Tensor(tensor.clone())),
        Some(Node::Opaque { name, .. }) => Ok(Node::Opaque { name: name.clone(), state: None }),
        _ => Err(PickleProblem::Arguments("torch._utils._rebuild_parameter")),
    }
}

fn items_of_first(nodes: &Nodes, arguments: &[Id]) -> Vec<Id> {
    arguments.first().map(|id| items(nodes, *id).to_vec()).unwrap_or_default()
}

fn items(nodes: &Nodes, id: Id) -> &[Id] {
    match nodes.at(id) {
        Node::List(items) | Node::Tuple(items) => items,
        _ => &[],
    }
}

fn size(nodes: &Nodes, id: Id) -> Option<usize> {
    match nodes.at(id) {
        Node::Int(number) => usize::try_from(*number).ok(),
        _ => None,
    }
}

fn sizes(nodes: &Nodes, id: Id) -> Option<Vec<usize>> {
    match nodes.at(id) {
        Node::List(dims) | Node::Tuple(dims) if dims.len() <= MAX_DIMENSIONS => {
            dims.iter().map(|dim| size(nodes, *dim)).collect()
        }
        _ => None,
    }
}

fn opaque(name: &str) -> Node {
    Node::Opaque { name: name.into(), state: None }
}
