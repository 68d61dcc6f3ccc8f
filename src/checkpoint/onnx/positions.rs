//! A ViT's stored positions for images of any size, as `nn/pos_embed.rs` has them.

use super::graph::{Attribute, Graph, Value};
use crate::nn::pos_embed::{ANTIALIASED_CUBIC, CUBIC, OFFSET, Resampling};
use crate::nn::vit::VitConfig;

/// What both resamplings have in common.
const BICUBIC: (&str, Attribute<'_>) = ("mode", Attribute::Text("cubic"));
const HALF_PIXEL: (&str, Attribute<'_>) = ("coordinate_transformation_mode", Attribute::Text("half_pixel"));

/// The patches' positions for the size of `pixels`, `[1, D, a, b]`, from `pos_embed`, `[1, 1 + N₀, D]`.
pub(super) fn positions(graph: &mut Graph, config: &VitConfig, pixels: &Value, pos_embed: &Value) -> Value {
    let (side, width) = (config.base_grid() as i64, config.embed_dim as i64);
    let stored = graph.slice(pos_embed, 1, 1..i64::MAX);
    let square = graph.ints(&[1, side, side, width]);
    let stored = graph.node("Reshape", &[&stored, &square], &[]);
    let stored = graph.transpose(&stored, &[0, 3, 1, 2]); // [1, D, side, side]
    let size = graph.node("Shape", &[pixels], &[("start", Attribute::Int(2))]); // height, width
    let patch = graph.ints(&[config.patch_size as i64]);
    let grid = graph.node("Div", &[&size, &patch], &[]); // a, b
    match config.extras.resampling {
        Resampling::Offset => {
            let factor = factor(graph, side, &size, &grid);
            let ones = graph.floats(&[1.0, 1.0]);
            let factors = graph.concat(&[&ones, &factor], 0);
            let cubic = [BICUBIC, ("cubic_coeff_a", Attribute::Float(CUBIC as f32)), HALF_PIXEL];
            graph.node("Resize", &[&stored, &Value::none(), &factors], &cubic)
        }
        Resampling::Antialiased => {
            let kept = graph.ints(&[1, width]);
            let sizes = graph.concat(&[&kept, &grid], 0);
            let cubic = ("cubic_coeff_a", Attribute::Float(ANTIALIASED_CUBIC as f32));
            // Without it the border is repeated, as the other resampling wants it.
            let inside = ("exclude_outside", Attribute::Int(1));
            let attributes = [BICUBIC, cubic, HALF_PIXEL, ("antialias", Attribute::Int(1)), inside];
            graph.node("Resize", &[&stored, &Value::none(), &Value::none(), &sizes], &attributes)
        }
    }
}

/// What each side is multiplied by, as `interpolate_pos_encoding` has it: 1 for a square image with the stored grid; otherwise
/// (grid + 0.1) / stored grid, which is also that of the coordinates.
fn factor(graph: &mut Graph, side: i64, size: &Value, grid: &Value) -> Value {
    // For a square image both fit or neither does, so that each side may be compared by itself.
    let [height, width] = graph.split(size, 0);
    let is_square = graph.node("Equal", &[&height, &width], &[]);
    let stored_side = graph.ints(&[side]);
    let fits = graph.node("Equal", &[grid, &stored_side], &[]);
    let unchanged = graph.node("And", &[&fits, &is_square], &[]);
    let grid = graph.number(grid);
    let offset = graph.float(OFFSET as f32);
    let grid = graph.node("Add", &[&grid, &offset], &[]);
    let side = graph.float(side as f32);
    let factor = graph.node("Div", &[&grid, &side], &[]);
    let one = graph.float(1.0);
    graph.node("Where", &[&unchanged, &one, &factor], &[])
}
