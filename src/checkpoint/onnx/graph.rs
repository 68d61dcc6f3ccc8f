//! Builds a graph node by node. Names of nodes and values follow from where they stand: `blocks.0.attn/MatMul_17`.
//!
//! Only sizes and scalars become constants here. A weight is asked for by name and shape; its values are the caller's.

use super::proto::{
    ATTRIBUTE_FLOAT, ATTRIBUTE_INT, ATTRIBUTE_INTS, ATTRIBUTE_STRING, AttributeProto, DimensionProto, DimensionValue,
    FLOAT, GraphProto, INT64, NodeProto, TensorProto, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};

/// What a node takes or gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Value(String);

/// A setting of a node.
#[derive(Debug, Clone, Copy)]
pub(super) enum Attribute<'a> {
    Int(i64),
    Float(f32),
    Ints(&'a [i64]),
    Text(&'a str),
}

/// The length of an axis of an input or output.
#[derive(Debug, Clone, Copy)]
pub(super) enum Dim {
    Fixed(usize),
    /// Free; equal names are equal lengths.
    Free(&'static str),
}

/// How the file holds a weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// As the network does.
    Kept,
    /// Rows and columns of a matrix exchanged.
    Transposed,
}

/// A weight that the graph takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Weight {
    /// The network's name.
    pub name: String,
    /// The network's shape.
    pub shape: Vec<usize>,
    /// How the file holds it.
    pub order: Order,
}

/// A graph under construction.
#[derive(Debug, Default)]
pub(super) struct Graph {
    graph: GraphProto,
    weights: Vec<Weight>,
    scope: String,
}

impl Weight {
    /// The name in the file: one of its own where the shape is another.
    pub(super) fn file_name(&self) -> String {
        match self.order {
            Order::Kept => self.name.clone(),
            Order::Transposed => format!("{}.transposed", self.name),
        }
    }

    /// The shape in the file.
    pub(super) fn file_shape(&self) -> Vec<i64> {
        let dims = self.shape.iter().map(|dim| *dim as i64);
        match self.order {
            Order::Kept => dims.collect(),
            Order::Transposed => dims.rev().collect(),
        }
    }
}

impl Graph {
    /// The nodes that follow belong to this part of the network.
    pub(super) fn enter(&mut self, scope: impl Into<String>) {
        self.scope = scope.into();
    }

    /// A node with one output.
    pub(super) fn node(&mut self, op: &str, inputs: &[&Value], attributes: &[(&str, Attribute<'_>)]) -> Value {
        let [output] = self.node_with_outputs(op, inputs, attributes);
        output
    }

    /// A node with several outputs.
    pub(super) fn node_with_outputs<const N: usize>(
        &mut self,
        op: &str,
        inputs: &[&Value],
        attributes: &[(&str, Attribute<'_>)],
    ) -> [Value; N] {
        let name = format!("{}/{op}_{}", self.scope, self.graph.node.len());
        let outputs: [Value; N] =
            std::array::from_fn(|output| Value(if N == 1 { name.clone() } else { format!("{name}_{output}") }));
        self.graph.node.push(NodeProto {
            input: inputs.iter().map(|input| input.0.clone()).collect(),
            output: outputs.iter().map(|output| output.0.clone()).collect(),
            name,
            op_type: op.to_owned(),
            attribute: attributes.iter().map(|(name, value)| attribute(name, *value)).collect(),
        });
        outputs
    }

    /// A weight of the network.
    pub(super) fn weight(&mut self, name: impl Into<String>, shape: &[usize], order: Order) -> Value {
        let weight = Weight { name: name.into(), shape: shape.to_vec(), order };
        let value = Value(weight.file_name());
        self.weights.push(weight);
        value
    }

    /// Integers as a vector.
    pub(super) fn ints(&mut self, values: &[i64]) -> Value {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(INT64, vec![values.len() as i64], bytes)
    }

    /// An integer as a scalar.
    pub(super) fn int(&mut self, value: i64) -> Value {
        self.constant(INT64, Vec::new(), value.to_le_bytes().to_vec())
    }

    /// Numbers as a vector.
    pub(super) fn floats(&mut self, values: &[f32]) -> Value {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(FLOAT, vec![values.len() as i64], bytes)
    }

    /// A number as a scalar.
    pub(super) fn float(&mut self, value: f32) -> Value {
        self.constant(FLOAT, Vec::new(), value.to_le_bytes().to_vec())
    }

    /// What the caller gives, f32.
    pub(super) fn input(&mut self, name: &str, dims: &[Dim], doc: String) -> Value {
        self.graph.input.push(value_info(name, dims, doc));
        Value(name.to_owned())
    }

    /// What the caller gets, f32: `value` under this name.
    pub(super) fn output(&mut self, value: &Value, name: &str, dims: &[Dim], doc: &str) {
        for node in &mut self.graph.node {
            let values = node.input.iter_mut().chain(&mut node.output);
            values.filter(|other| **other == value.0).for_each(|other| *other = name.to_owned());
        }
        self.graph.output.push(value_info(name, dims, doc.to_owned()));
    }

    /// The graph without its weights, and the weights that it takes.
    pub(super) fn finish(self, name: &str) -> (GraphProto, Vec<Weight>) {
        (GraphProto { name: name.to_owned(), ..self.graph }, self.weights)
    }

    /// Equal constants are one.
    fn constant(&mut self, data_type: i32, dims: Vec<i64>, raw_data: Vec<u8>) -> Value {
        let tensors = &mut self.graph.initializer;
        let same =
            |tensor: &&TensorProto| tensor.data_type == data_type && tensor.dims == dims && tensor.raw_data == raw_data;
        if let Some(known) = tensors.iter().find(same) {
            return Value(known.name.clone());
        }
        let name = format!("constant_{}", tensors.len());
        tensors.push(TensorProto { dims, data_type, name: name.clone(), raw_data });
        Value(name)
    }
}

fn attribute(name: &str, value: Attribute<'_>) -> AttributeProto {
    let named = AttributeProto { name: name.to_owned(), ..AttributeProto::default() };
    match value {
        Attribute::Int(i) => AttributeProto { i, kind: ATTRIBUTE_INT, ..named },
        Attribute::Float(f) => AttributeProto { f, kind: ATTRIBUTE_FLOAT, ..named },
        Attribute::Ints(ints) => AttributeProto { ints: ints.to_vec(), kind: ATTRIBUTE_INTS, ..named },
        Attribute::Text(text) => AttributeProto { s: text.as_bytes().to_vec(), kind: ATTRIBUTE_STRING, ..named },
    }
}

fn value_info(name: &str, dims: &[Dim], doc_string: String) -> ValueInfoProto {
    let dim = dims.iter().map(|dim| match dim {
        Dim::Fixed(length) => DimensionValue::DimValue(*length as i64),
        Dim::Free(name) => DimensionValue::DimParam((*name).to_owned()),
    });
    let dim = dim.map(|value| DimensionProto { value: Some(value) }).collect();
    let tensor = TensorTypeProto { elem_type: FLOAT, shape: Some(TensorShapeProto { dim }) };
    ValueInfoProto { name: name.to_owned(), kind: Some(TypeProto { tensor_type: Some(tensor) }), doc_string }
}
