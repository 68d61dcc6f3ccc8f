//! The stack machine: opcodes in, one value out.
//!
//! Pickle fills containers after it has put references to them in the memo, so values live in one list of nodes and
//! refer to each other by index; only at the end they become a tree.

use std::collections::HashMap;
use std::io::{self, Read};

use super::node::{Id, Node, Nodes};
use super::opcode as op;
use super::value::Value;
use super::{MAX_DEPTH, MAX_LINE_BYTES, MAX_MEMO, MAX_VALUES, PickleError, PickleProblem, constructor};

type Problem<T> = std::result::Result<T, PickleProblem>;

/// The newest protocol that is understood.
const MAX_PROTOCOL: u8 = 5;

struct Machine<R> {
    input: R,
    offset: u64,
    limit: u64,
    stack: Vec<Id>,
    /// Heights of the stack at which a MARK stands.
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
    nodes: Nodes,
}

/// Reads one pickle and leaves the input behind its STOP; at most `limit` bytes are read.
pub(in crate::checkpoint) fn parse<R: Read>(input: R, limit: u64) -> std::result::Result<Value, PickleError> {
    let mut machine = Machine {
        input,
        offset: 0,
        limit,
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        nodes: Nodes::default(),
    };
    machine.run().map_err(|problem| PickleError { offset: machine.offset, problem })
}

impl<R: Read> Machine<R> {
    fn run(&mut self) -> Problem<Value> {
        loop {
            let opcode = self.byte()?;
            if opcode == op::STOP {
                let root = self.pop()?;
                return self.tree(root, 0, &mut 0);
            }
            let known = self.control(opcode)?
                || self.number(opcode)?
                || self.text(opcode)?
                || self.sequence(opcode)?
                || self.mapping(opcode)?
                || self.memory(opcode)?
                || self.object(opcode)?;
            if !known {
                return Err(PickleProblem::UnknownOpcode(opcode));
            }
        }
    }

    /// Each of the following says whether the opcode was one of its own.
    fn control(&mut self, opcode: u8) -> Problem<bool> {
        match opcode {
            op::PROTO => {
                let protocol = self.byte()?;
                if protocol > MAX_PROTOCOL {
                    return Err(PickleProblem::Protocol(protocol));
                }
            }
            // The frame's length only serves to read ahead.
            op::FRAME => drop(self.bytes::<8>()?),
            op::MARK => self.marks.push(self.stack.len()),
            op::POP => match self.marks.last() {
                Some(mark) if *mark == self.stack.len() => drop(self.marks.pop()),
                _ => drop(self.pop()?),
            },
            op::POP_MARK => drop(self.pop_to_mark()?),
            op::DUP => {
                let top = self.top()?;
                self.stack.push(top);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn number(&mut self, opcode: u8) -> Problem<bool> {
        let node = match opcode {
            op::NONE => Node::Plain(Value::None),
            op::NEWTRUE => Node::Plain(Value::Bool(true)),
            op::NEWFALSE => Node::Plain(Value::Bool(false)),
            op::BININT => Node::Int(i64::from(i32::from_le_bytes(self.bytes()?))),
            op::BININT1 => Node::Int(i64::from(self.byte()?)),
            op::BININT2 => Node::Int(i64::from(u16::from_le_bytes(self.bytes()?))),
            op::LONG1 => {
                let length = u64::from(self.byte()?);
                long_integer(&self.take(length)?)
            }
            op::LONG4 => {
                let length = u64::from(u32::from_le_bytes(self.bytes()?));
                long_integer(&self.take(length)?)
            }
            // The only number in big-endian order.
            op::BINFLOAT => Node::Plain(Value::Float(f64::from_be_bytes(self.bytes()?))),
            _ => return Ok(false),
        };
        self.push(node);
        Ok(true)
    }

    fn text(&mut self, opcode: u8) -> Problem<bool> {
        let length = match opcode {
            op::SHORT_BINSTRING | op::SHORT_BINUNICODE | op::SHORT_BINBYTES => u64::from(self.byte()?),
            op::BINSTRING | op::BINUNICODE | op::BINBYTES => u64::from(u32::from_le_bytes(self.bytes()?)),
            op::BINUNICODE8 | op::BINBYTES8 | op::BYTEARRAY8 => u64::from_le_bytes(self.bytes()?),
            _ => return Ok(false),
        };
        let bytes = self.take(length)?;
        let node = match opcode {
            op::SHORT_BINBYTES | op::BINBYTES | op::BINBYTES8 | op::BYTEARRAY8 => {
                Node::Plain(Value::Bytes(bytes.into()))
            }
            // Python 2's `str`, of no stated encoding; the names that matter are ASCII.
            op::SHORT_BINSTRING | op::BINSTRING => Node::Text(String::from_utf8_lossy(&bytes).into()),
            _ => Node::Text(String::from_utf8(bytes).map_err(|_| PickleProblem::NotUtf8)?.into()),
        };
        self.push(node);
        Ok(true)
    }

    fn sequence(&mut self, opcode: u8) -> Problem<bool> {
        let node = match opcode {
            op::EMPTY_LIST | op::EMPTY_SET => Node::List(Vec::new()),
            op::EMPTY_TUPLE => Node::Tuple(Vec::new()),
            op::LIST | op::FROZENSET => Node::List(self.pop_to_mark()?),
            op::TUPLE => Node::Tuple(self.pop_to_mark()?),
            op::TUPLE1 => Node::Tuple(self.pop_many(1)?),
            op::TUPLE2 => Node::Tuple(self.pop_many(2)?),
            op::TUPLE3 => Node::Tuple(self.pop_many(3)?),
            op::APPEND => {
                let items = self.pop_many(1)?;
                return self.extend_top(items);
            }
            op::APPENDS | op::ADDITEMS => {
                let items = self.pop_to_mark()?;
                return self.extend_top(items);
            }
            _ => return Ok(false),
        };
        self.push(node);
        Ok(true)
    }

    fn mapping(&mut self, opcode: u8) -> Problem<bool> {
        match opcode {
            op::EMPTY_DICT => self.push(Node::Dict(Vec::new())),
            op::DICT => {
                let entries = pairs(&self.pop_to_mark()?)?;
                self.push(Node::Dict(entries));
            }
            op::SETITEM | op::SETITEMS => {
                let fields = if opcode == op::SETITEM { self.pop_many(2)? } else { self.pop_to_mark()? };
                let entries = pairs(&fields)?;
                let target = self.top()?;
                match self.nodes.at_mut(target) {
                    Node::Dict(existing) => existing.extend(entries),
                    // A subclass of `dict` that is not known: it stays inert.
                    Node::Opaque { .. } => {}
                    _ => return Err(PickleProblem::Expected("a dictionary")),
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn memory(&mut self, opcode: u8) -> Problem<bool> {
        let slot = match opcode {
            op::MEMOIZE => self.memo.len() as u64,
            op::BINPUT | op::BINGET => u64::from(self.byte()?),
            op::LONG_BINPUT | op::LONG_BINGET => u64::from(u32::from_le_bytes(self.bytes()?)),
            _ => return Ok(false),
        };
        if matches!(opcode, op::BINGET | op::LONG_BINGET) {
            let id = self.memo.get(&slot).ok_or(PickleProblem::NoMemo(slot))?;
            self.stack.push(*id);
            return Ok(true);
        }
        if self.memo.len() >= MAX_MEMO {
            return Err(PickleProblem::Limit { what: "memo entries", limit: MAX_MEMO });
        }
        let top = self.top()?;
        self.memo.insert(slot, top);
        Ok(true)
    }

    fn object(&mut self, opcode: u8) -> Problem<bool> {
        let node = match opcode {
            op::GLOBAL => {
                let (module, name) = (self.line()?, self.line()?);
                Node::Global(format!("{module}.{name}").into())
            }
            op::STACK_GLOBAL => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (Node::Text(module), Node::Text(name)) = (self.nodes.at(module), self.nodes.at(name)) else {
                    return Err(PickleProblem::Expected("the name of a global"));
                };
                Node::Global(format!("{module}.{name}").into())
            }
            op::REDUCE | op::NEWOBJ => {
                let (arguments, callable) = (self.pop()?, self.pop()?);
                self.call(callable, arguments)?
            }
            op::NEWOBJ_EX => {
                let (_keywords, arguments, class) = (self.pop()?, self.pop()?, self.pop()?);
                self.call(class, arguments)?
            }
            op::BINPERSID => {
                let id = self.pop()?;
                constructor::persistent(&self.nodes, id)?
            }
            op::BUILD => {
                let (attributes, target) = (self.pop()?, self.top()?);
                // Attributes of known things (an OrderedDict's `_metadata`) carry nothing that is needed.
                if let Node::Opaque { state, .. } = self.nodes.at_mut(target) {
                    *state = Some(attributes);
                }
                return Ok(true);
            }
            _ => return Ok(false),
        };
        self.push(node);
        Ok(true)
    }

    fn call(&self, callable: Id, arguments: Id) -> Problem<Node> {
        let Node::Tuple(arguments) = self.nodes.at(arguments) else {
            return Err(PickleProblem::Expected("a tuple of arguments"));
        };
        match self.nodes.at(callable) {
            Node::Global(name) => constructor::construct(&self.nodes, name, arguments),
            _ => Ok(Node::Opaque { name: "unnamed callable".into(), state: None }),
        }
    }

    /// Copies a node and its parts out. Depth and number are limited: nodes may refer to each other in circles.
    fn tree(&self, id: Id, depth: usize, made: &mut usize) -> Problem<Value> {
        *made += 1;
        if *made > MAX_VALUES {
            return Err(PickleProblem::Limit { what: "values", limit: MAX_VALUES });
        }
        if depth > MAX_DEPTH {
            return Err(PickleProblem::Limit { what: "levels of nesting", limit: MAX_DEPTH });
        }
        let mut part = |id: &Id| self.tree(*id, depth + 1, made);
        Ok(match self.nodes.at(id) {
            Node::Plain(value) => value.clone(),
            Node::Int(number) => Value::Int(*number),
            Node::Text(text) => Value::Text(text.clone()),
            Node::List(items) => Value::List(items.iter().map(part).collect::<Problem<_>>()?),
            Node::Tuple(items) => Value::Tuple(items.iter().map(part).collect::<Problem<_>>()?),
            Node::Dict(entries) => {
                let entries = entries.iter().map(|(key, value)| Ok((part(key)?, part(value)?)));
                Value::Dict(entries.collect::<Problem<_>>()?)
            }
            Node::Global(name) => Value::Opaque { name: name.clone(), state: None },
            Node::Storage { .. } => Value::Opaque { name: "torch.Storage".into(), state: None },
            Node::Tensor(tensor) => Value::Tensor(tensor.clone()),
            Node::Opaque { name, state } => {
                let state = state.as_ref().map(part).transpose()?.map(Box::new);
                Value::Opaque { name: name.clone(), state }
            }
        })
    }

    fn push(&mut self, node: Node) {
        let id = self.nodes.push(node);
        self.stack.push(id);
    }

    fn top(&self) -> Problem<Id> {
        let floor = self.marks.last().copied().unwrap_or(0);
        self.stack.get(floor..).and_then(<[Id]>::last).copied().ok_or(PickleProblem::StackUnderflow)
    }

    fn pop(&mut self) -> Problem<Id> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn pop_many(&mut self, count: usize) -> Problem<Vec<Id>> {
        let floor = self.marks.last().copied().unwrap_or(0);
        let start = self.stack.len().checked_sub(count).filter(|start| *start >= floor);
        Ok(self.stack.split_off(start.ok_or(PickleProblem::StackUnderflow)?))
    }

    fn pop_to_mark(&mut self) -> Problem<Vec<Id>> {
        let mark = self.marks.pop().ok_or(PickleProblem::StackUnderflow)?;
        Ok(self.stack.split_off(mark))
    }

    fn extend_top(&mut self, items: Vec<Id>) -> Problem<bool> {
        let target = self.top()?;
        match self.nodes.at_mut(target) {
            Node::List(existing) => existing.extend(items),
            Node::Opaque { .. } => {}
            _ => return Err(PickleProblem::Expected("a list")),
        }
        Ok(true)
    }

    fn byte(&mut self) -> Problem<u8> {
        let [byte] = self.bytes()?;
        Ok(byte)
    }

    fn bytes<const COUNT: usize>(&mut self) -> Problem<[u8; COUNT]> {
        self.claim(COUNT as u64)?;
        let mut bytes = [0; COUNT];
        self.input.read_exact(&mut bytes).map_err(unreadable)?;
        Ok(bytes)
    }

    /// That many bytes. They are read as they come, so that a false length allocates nothing.
    fn take(&mut self, count: u64) -> Problem<Vec<u8>> {
        self.claim(count)?;
        let mut bytes = Vec::new();
        (&mut self.input).take(count).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 == count { Ok(bytes) } else { Err(PickleProblem::Truncated) }
    }

    fn line(&mut self) -> Problem<String> {
        let mut bytes = Vec::new();
        loop {
            match self.byte()? {
                b'\n' => return String::from_utf8(bytes).map_err(|_| PickleProblem::NotUtf8),
                byte => bytes.push(byte),
            }
            if bytes.len() > MAX_LINE_BYTES {
                return Err(PickleProblem::Limit { what: "bytes in a name", limit: MAX_LINE_BYTES });
            }
        }
    }

    fn claim(&mut self, count: u64) -> Problem<()> {
        let reached = self.offset.checked_add(count).filter(|reached| *reached <= self.limit);
        self.offset = reached.ok_or(PickleProblem::Truncated)?;
        Ok(())
    }
}

fn unreadable(error: io::Error) -> PickleProblem {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => PickleProblem::Truncated,
        _ => PickleProblem::Read(error),
    }
}

fn pairs(fields: &[Id]) -> Problem<Vec<(Id, Id)>> {
    let (pairs, rest) = fields.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(PickleProblem::Expected("a value for every key"));
    }
    Ok(pairs.iter().map(|[key, value]| (*key, *value)).collect())
}

/// Little-endian two's complement of any length.
fn long_integer(bytes: &[u8]) -> Node {
    let negative = bytes.last().is_some_and(|byte| *byte >= 0x80);
    let mut extended = if negative { [0xff; 8] } else { [0; 8] };
    match extended.get_mut(..bytes.len()) {
        Some(low) => {
            low.copy_from_slice(bytes);
            Node::Int(i64::from_le_bytes(extended))
        }
        None => Node::Plain(Value::BigInt(bytes.into())),
    }
}
