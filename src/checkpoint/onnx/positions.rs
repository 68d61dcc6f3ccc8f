//! A ViT's stored positions for images of any size, as `nn/pos_embed.rs` has them: bicubic, a matrix for each axis.
//!
//! The matrices are computed in the graph. The operator Resize would do, if runtimes did not leave a grid as it is that keeps its size,
//! where the reference moves it a little; few of them antialias.

use super::graph::{Attribute, Graph, Value};
use crate::nn::pos_embed::{ANTIALIASED_CUBIC, CUBIC, OFFSET, REACH, Resampling};
use crate::nn::vit::VitConfig;

/// The patches' positions for the size of `pixels`, `[1, a·b, D]`, from `pos_embed`, `[1, 1 + N₀, D]`.
pub(super) fn positions(graph: &mut Graph, config: &VitConfig, pixels: &Value, pos_embed: &Value) -> Value {
    let (side, width) = (config.base_grid(), config.embed_dim as i64);
    let size = graph.node("Shape", &[pixels], &[("start", Attribute::Int(2))]); // height, width
    let patch = graph.ints(&[config.patch_size as i64]);
    let grid = graph.node("Div", &[&size, &patch], &[]); // a, b
    let stored = graph.slice(pos_embed, 1, 1..i64::MAX);
    let square = graph.ints(&[side as i64, side as i64, width]);
    let mut stored = graph.node("Reshape", &[&stored, &square], &[]);
    let (factors, margin) = match config.extras.resampling {
        Resampling::Offset => (offset_factors(graph, side, &size, &grid), REACH as usize),
        Resampling::Antialiased => (factors(graph, side, &grid, 0.0), 0),
    };
    if margin > 0 {
        // Beyond the border stands the border.
        let margins = [margin as i64, margin as i64, 0].repeat(2);
        let margins = graph.ints(&margins);
        stored = graph.node("Pad", &[&stored, &margins], &[("mode", Attribute::Text("edge"))]);
    }
    let places: Vec<f32> = (0..side + 2 * margin).map(|at| at as f32 - margin as f32).collect();
    let [rows, columns] = [0, 1].map(|axis| {
        let axis = [&grid, &factors].map(|sizes| graph.element(sizes, axis));
        weights(graph, [&axis[0], &axis[1]], &places, config.extras.resampling)
    });
    let count = places.len() as i64;
    let flat = graph.ints(&[count, count * width]);
    let stored = graph.node("Reshape", &[&stored, &flat], &[]);
    let mixed = graph.node("MatMul", &[&rows, &stored], &[]); // [a, side·D]
    let deep = graph.ints(&[-1, count, width]);
    let mixed = graph.node("Reshape", &[&mixed, &deep], &[]); // [a, side, D]
    let mixed = graph.node("MatMul", &[&columns, &mixed], &[]); // [a, b, D]
    let tokens = graph.ints(&[1, -1, width]);
    graph.node("Reshape", &[&mixed, &tokens], &[])
}

/// (grid + offset) / stored grid, for both sides.
fn factors(graph: &mut Graph, side: usize, grid: &Value, offset: f64) -> Value {
    let [offset, side] = [offset, side as f64].map(|value| graph.float(value as f32));
    let grid = graph.number(grid);
    let grid = graph.node("Add", &[&grid, &offset], &[]);
    graph.node("Div", &[&grid, &side], &[])
}

/// The factors of `interpolate_pos_encoding`: 1 for a square image with the stored grid, which stays as it is.
fn offset_factors(graph: &mut Graph, side: usize, size: &Value, grid: &Value) -> Value {
    // For a square image both fit or neither does, so that each side may be compared by itself.
    let [height, width] = graph.split(size, 0);
    let is_square = graph.node("Equal", &[&height, &width], &[]);
    let stored_side = graph.ints(&[side as i64]);
    let fits = graph.node("Equal", &[grid, &stored_side], &[]);
    let unchanged = graph.node("And", &[&fits, &is_square], &[]);
    let factors = factors(graph, side, grid, OFFSET);
    let one = graph.float(1.0);
    graph.node("Where", &[&unchanged, &one, &factors], &[])
}

/// The weights with which the stored `places` of an axis become the places of the image's, `[length, places]`.
fn weights(graph: &mut Graph, [length, factor]: [&Value; 2], places: &[f32], resampling: Resampling) -> Value {
    let [zero, one] = [0, 1].map(|value| graph.int(value));
    let at = graph.node("Range", &[&zero, length, &one], &[]);
    let at = graph.number(&at);
    let half = graph.float(0.5); // A place is the middle of a patch.
    let at = graph.node("Add", &[&at, &half], &[]);
    let at = graph.node("Div", &[&at, factor], &[]);
    let at = graph.node("Sub", &[&at, &half], &[]);
    let columns = graph.ints(&[1]);
    let at = graph.node("Unsqueeze", &[&at, &columns], &[]); // [length, 1]
    let places = graph.floats(places);
    let distance = graph.node("Sub", &[&at, &places], &[]);
    let distance = graph.node("Abs", &[&distance], &[]); // [length, places]
    match resampling {
        Resampling::Offset => cubic(graph, &distance, CUBIC),
        Resampling::Antialiased => {
            // Where the grid shrinks, the kernel is as much wider.
            let one = graph.float(1.0);
            let stretch = graph.node("Div", &[&one, factor], &[]);
            let stretch = graph.node("Max", &[&stretch, &one], &[]);
            let distance = graph.node("Div", &[&distance, &stretch], &[]);
            let weights = cubic(graph, &distance, ANTIALIASED_CUBIC);
            let total = graph.node("ReduceSum", &[&weights, &columns], &[("keepdims", Attribute::Int(1))]);
            graph.node("Div", &[&weights, &total], &[])
        }
    }
}

/// The cubic kernel of coefficient `a` at distances `x`.
fn cubic(graph: &mut Graph, x: &Value, a: f64) -> Value {
    let (one, reach) = (graph.float(1.0), graph.float(REACH as f32));
    // It is 0 where its reach ends.
    let x = graph.node("Min", &[x, &reach], &[]);
    let near = polynomial(graph, &x, [a + 2.0, -(a + 3.0), 0.0, 1.0]);
    let far = polynomial(graph, &x, [a, -5.0 * a, 8.0 * a, -4.0 * a]);
    let is_near = graph.node("Less", &[&x, &one], &[]);
    graph.node("Where", &[&is_near, &near, &far], &[])
}

/// A polynomial of degree 3, its highest coefficient first.
fn polynomial(graph: &mut Graph, x: &Value, [highest, rest @ ..]: [f64; 4]) -> Value {
    let highest = graph.float(highest as f32);
    rest.into_iter().fold(highest, |sum, coefficient| {
        let product = graph.node("Mul", &[&sum, x], &[]);
        let coefficient = graph.float(coefficient as f32);
        graph.node("Add", &[&product, &coefficient], &[])
    })
}
