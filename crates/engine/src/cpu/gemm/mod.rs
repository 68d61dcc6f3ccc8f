//! Matrix products, from operands in any layout to the last element-wise operation on the result.
//!
//! Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication" (2008), in this form: the inner dimension is
//! cut into slabs; of each slab the right operand is copied once into panels as wide as a register tile (`pack`), shared by
//! all threads. Then blocks of the result are tasks. Within a task register tiles (`tile`) run down a panel that stays in the
//! first-level cache, or comes from the second one in time; the left operand is read in place if it lies along the inner dimension, else the task packs its own
//! rows of it, which then stay in the second-level cache.
//!
//! A weight that serves many products is packed before (`pack`), whole and once. A convolution is a product whose left operand's
//! vectors are windows over images, which a task writes when it packs them (`windows`).
//!
//! Blocks are many and independent, so a thread that the machine slows down takes fewer of them. The order in which an
//! element is summed up depends on the sizes of the product and the width of a vector: the same bits for any number of
//! threads.

mod destination;
mod pack;
mod product;
mod tile;
mod units;
mod windows;

use std::cell::Cell;
use std::marker::PhantomData;
use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};

use super::cache::aligned;
use super::chunk::check_len;
use super::word::Word;
use crate::kernels::Packed;
use crate::team::for_each;
use crate::values::{Values, ValuesMut};
pub use destination::Destination;
use destination::Place;
pub use product::{Adjacent, Finish, Operand, Product, Start};
use tile::{Corner, Left, Panel, tile};
pub use units::Units;
use units::WithTile;
pub use windows::Windows;

/// Words of a panel that tiles walk through at a time: 16 KB, half of a small first-level cache.
const PANEL: usize = 1 << 12;
/// Columns of a panel beyond which tiles take so long for each of its words that it may as well come from the second-level
/// cache, and be deep.
const WIDE: usize = 16;
/// Inner words at a time of panels wider than [`WIDE`]: a tile is loaded and stored once for so many multiply-adds.
const DEPTH_WIDE: usize = 512;
/// Packed words of a slab of the right operand, where not a single step of tiles takes more: 4 MB, a part of the
/// last-level cache. Two slabs are held at a time.
const SLAB: usize = 1 << 20;
/// Rows of a task's block: 256 words of each take 96 KB, 512 take 192 KB, a part of the second-level cache.
const HEIGHT: usize = 96;
/// Columns of a task's block whose left operand is read in place: the block takes 216 KB, a part of the second-level cache.
const WIDTH_IN_PLACE: usize = 576;
/// Columns of a task's block whose left operand is packed, which the next block of the same rows would do again.
const WIDTH_PACKED: usize = 1536;
/// A product of fewer rows, both of whose operands lie along the inner dimension, is computed as its transpose: packing its
/// right operand (a layer's weight) would take longer than storing tiles of the result turned.
const FEW: usize = 512;
/// Inner words at a time of such a product: its results should be stored once.
const DEPTH_FEW: usize = 2048;
/// Tasks there should be for each thread, so that none waits long for another at the end.
const TASKS_PER_THREAD: usize = 12;

thread_local! {
    /// The packed right operand of a product that this thread has begun; taken out while in use, since a thread that waits
    /// may be given another product.
    static RIGHT: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
    /// What a task needs.
    static OWN: Cell<Own> = const { Cell::new(Own { left: Vec::new(), sums: Vec::new() }) };
}

/// Memory of a task.
#[derive(Default)]
struct Own {
    /// Packed rows of the left operand.
    left: Vec<f32>,
    /// The block, if the destination is rounded.
    sums: Vec<f32>,
}

/// Computes a [`Product`] into the dense row-major `out` on the threads of the current pool.
///
/// # Panics
/// If a slice is shorter than the sizes say, or rounded values are given to units of `f32`, or rounded sums are to be
/// continued.
pub fn multiply(arch: Arch, units: Units, product: Product<'_>, out: ValuesMut<'_, f32>) {
    let [rows, columns, depth] = product.size;
    let len = out.read().len();
    check_len("out", len, rows * columns);
    assert!(product.left.values.len() >= product.left.reach(rows, depth), "the left operand is too short");
    assert!(product.right.values.len() >= product.right.reach(columns, depth), "the right operand is too short");
    assert!(product.right.windows.is_none(), "windows are multiplied from the left");
    if let Start::Bias(bias) = product.start {
        check_len("bias", bias.len(), columns);
    }
    let rounded = |values: Values<'_, f32>| matches!(values, Values::Half(_));
    let operands = [product.left.values, product.right.values];
    assert!(units != Units::F32 || !operands.into_iter().any(rounded), "units of f32 take no rounded values");
    let continued = matches!(product.start, Start::Out);
    assert!(!(continued && rounded(out.read())), "rounded sums of {rows} x {columns} cannot be continued");
    if let Finish::GeluOf(second) | Finish::GeluBackward(second) = &product.finish {
        check_len("second", second.read().len(), len);
    }
    if let Some(sums) = &product.left_sums {
        assert!(product.left.adjacent == Adjacent::Vectors, "only operands that are packed are summed up");
        check_len("left_sums", sums.len(), rows);
    }
    if rows == 0 || columns == 0 {
        return;
    }
    units.with_tile(arch, columns, Multiply { product, out, order: Order::Rows });
}

/// The same for `out` that holds columns of the result one after the other; nothing follows, and sums start from zero or
/// what is there.
pub fn multiply_turned(arch: Arch, units: Units, product: Product<'_>, out: &mut [f32]) {
    let [rows, columns, depth] = product.size;
    check_len("out", out.len(), rows * columns);
    assert!(product.left.values.len() >= product.left.reach(rows, depth), "the left operand is too short");
    assert!(product.right.values.len() >= product.right.reach(columns, depth), "the right operand is too short");
    assert!(product.right.windows.is_none(), "windows are multiplied from the left");
    let simple = matches!((&product.start, &product.finish), (Start::Zero | Start::Out, Finish::Keep));
    assert!(simple && product.left_sums.is_none(), "turned products are neither begun nor finished");
    if rows > 0 && columns > 0 {
        units.with_tile(arch, columns, Multiply { product, out: out.into(), order: Order::Columns });
    }
}

/// Copies a right operand of `columns` vectors of `inner` values into panels, for [`Product::packed`] of the same units.
pub fn pack(arch: Arch, units: Units, right: Operand<'_>, [columns, inner]: [usize; 2]) -> Packed {
    assert!(right.values.len() >= right.reach(columns, inner), "the right operand is too short");
    units.with_tile(arch, columns, Pack { right, size: [columns, inner] })
}

/// See [`pack`].
struct Pack<'a> {
    right: Operand<'a>,
    size: [usize; 2],
}

impl WithTile for Pack<'_> {
    type Output = Packed;

    fn run<W: Word, const ROWS: usize, const VECTORS: usize, const WIDTH: usize>(self, arch: Arch) -> Packed {
        let [columns, inner] = self.size;
        let words = inner.div_ceil(W::VALUES);
        Packed::new(columns.next_multiple_of(WIDTH) * words, |to| {
            pack::panels::<W, WIDTH>(arch, self.right, [columns, words], 0..inner, to);
        })
    }
}

/// See [`multiply`] and [`multiply_turned`].
struct Multiply<'a, 'b> {
    product: Product<'a>,
    out: ValuesMut<'b, f32>,
    order: Order,
}

/// What of a result is adjacent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Rows,
    Columns,
}

impl WithTile for Multiply<'_, '_> {
    type Output = ();

    fn run<W: Word, const ROWS: usize, const VECTORS: usize, const WIDTH: usize>(self, arch: Arch) {
        let [rows, columns, _] = self.product.size;
        let out = match self.order {
            Order::Rows => Place::new(self.out, columns),
            Order::Columns => Place::new(self.out, rows).transposed(),
        };
        run::<W, ROWS, VECTORS, WIDTH>(arch, self.product, out, self.order);
    }
}

/// [`multiply`] with register tiles of `ROWS` rows by `VECTORS` vectors, `WIDTH` columns.
fn run<W: Word, const ROWS: usize, const VECTORS: usize, const WIDTH: usize>(
    arch: Arch,
    product: Product<'_>,
    mut out: Place,
    order: Order,
) {
    let Product { mut left, mut right, packed, size: [mut rows, mut columns, inner], start, finish, left_sums } =
        product;
    let left_sums = left_sums.map(|sums| Destination::new(sums, 1));
    let mut finish = finish.map(|second| Place::new(second, columns));
    let turnable = left.windows.is_none() && left.adjacent == Adjacent::Inner && right.adjacent == Adjacent::Inner;
    let few = packed.is_none() && rows < FEW && turnable && order == Order::Rows;
    if few {
        (left, right, rows, columns) = (right, left, columns, rows);
        out = out.transposed();
        finish = finish.map(Place::transposed);
    }
    let depth = inner.div_ceil(W::VALUES);
    let copied = left.adjacent == Adjacent::Vectors || left.in_place::<W>(inner).is_none();
    let blocks = blocks([rows, columns], copied, [ROWS, WIDTH]);
    let packed_columns = columns.next_multiple_of(WIDTH);
    let step = if few { DEPTH_FEW } else { const { deep(WIDTH) } };
    let slab = match out {
        Place::Full(_) if packed.is_none() => even_part(depth, (SLAB / packed_columns).max(step)),
        // Sums are not continued once they are rounded.
        _ => depth,
    };
    let len = packed_columns * slab;
    let pack = |first: usize, to: &mut [f32]| {
        let words = slab.min(depth - first);
        let inner = first * W::VALUES..inner.min((first + slab) * W::VALUES);
        pack::panels::<W, WIDTH>(arch, right, [columns, words], inner, to);
    };
    let work = |first: usize, panels: &[f32]| {
        let start = if first == 0 { start } else { Start::Out };
        let finish = if first + slab >= depth { finish } else { Finish::Keep };
        let depth = slab.min(depth - first);
        let part = Slab { left, inner, right: panels, first, depth, step, start, left_sums, out, finish };
        for_each(blocks.len(), |block| {
            let mut own = OWN.take();
            let task =
                Task::<'_, W, ROWS, VECTORS, WIDTH> { part, block: blocks[block], own: &mut own, word: PhantomData };
            W::dispatch(arch, task);
            OWN.set(own);
        });
    };
    if let Some(panels) = packed {
        check_len("packed", panels.len(), len);
        work(0, panels);
        return;
    }
    slab_by_slab([depth, slab], len, pack, work);
}

/// Runs `work` on one slab of `depth` words after the other, while `pack` fills the next one, of `len` words.
fn slab_by_slab(
    [depth, slab]: [usize; 2],
    len: usize,
    pack: impl Fn(usize, &mut [f32]) + Sync,
    work: impl Fn(usize, &[f32]) + Sync,
) {
    let mut memory = RIGHT.take();
    let slabs = if slab < depth { 2 } else { 1 };
    let (mut panels, mut spare) = aligned(&mut memory, slabs * len).split_at_mut(len);
    pack(0, panels);
    for first in (0..depth.max(1)).step_by(slab.max(1)) {
        if first + slab < depth {
            rayon::join(|| work(first, panels), || pack(first + slab, spare));
        } else {
            work(first, panels);
        }
        std::mem::swap(&mut panels, &mut spare);
    }
    RIGHT.set(memory);
}

/// Inner words at a time of panels of `width` columns.
const fn deep(width: usize) -> usize {
    if width > WIDE { DEPTH_WIDE } else { PANEL / width }
}

/// Cuts the result into blocks of whole register tiles: few values of an operand are read twice, and yet there are enough
/// tasks for all threads.
fn blocks([rows, columns]: [usize; 2], packed: bool, tile: [usize; 2]) -> Vec<Block> {
    let mut size = [HEIGHT, if packed { WIDTH_PACKED } else { WIDTH_IN_PLACE }];
    // Rows that are packed should be packed once, rows that are read in place can be read again.
    let order = if packed { [0, 1] } else { [1, 0] };
    let count = |[height, width]: [usize; 2]| rows.div_ceil(height) * columns.div_ceil(width);
    let wanted = TASKS_PER_THREAD * rayon::current_num_threads();
    for side in order {
        while count(size) < wanted && size[side] >= 8 * tile[side] {
            size[side] /= 2;
        }
    }
    let [mut height, mut width] = size;
    height = even_part(rows, height).next_multiple_of(tile[0]);
    width = even_part(columns, width).next_multiple_of(tile[1]);
    let mut blocks = Vec::with_capacity(count([height, width]));
    for row in (0..rows).step_by(height) {
        for column in (0..columns).step_by(width) {
            blocks.push(Block { first: [row, column], size: [height.min(rows - row), width.min(columns - column)] });
        }
    }
    blocks
}

/// The length of the parts when `whole` is cut into the fewest equal parts of about `most` at most.
fn even_part(whole: usize, most: usize) -> usize {
    whole.div_ceil(whole.div_ceil(most.max(1)).max(1))
}

/// A part of the result.
#[derive(Debug, Clone, Copy)]
struct Block {
    first: [usize; 2],
    size: [usize; 2],
}

/// One slab of the inner dimension.
#[derive(Clone, Copy)]
struct Slab<'a> {
    left: Operand<'a>,
    /// Length of the left operand's vectors.
    inner: usize,
    /// Panels of the slab.
    right: &'a [f32],
    /// Inner word at which the slab begins, and its length.
    first: usize,
    depth: usize,
    /// Inner words at a time, about.
    step: usize,
    start: Start<'a>,
    left_sums: Option<Destination<f32>>,
    out: Place,
    finish: Finish<Place>,
}

/// One block of the result for one slab of the inner dimension.
struct Task<'a, W, const ROWS: usize, const VECTORS: usize, const WIDTH: usize> {
    part: Slab<'a>,
    block: Block,
    own: &'a mut Own,
    word: PhantomData<W>,
}

impl<W: Word, const ROWS: usize, const VECTORS: usize, const WIDTH: usize> WithSimd
    for Task<'_, W, ROWS, VECTORS, WIDTH>
{
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        assert!(S::F32_LANES * VECTORS == WIDTH, "{VECTORS} vectors are not {WIDTH} columns");
        let Slab { right, depth: slab, step, start, out, finish, .. } = self.part;
        let Block { first: [row, column], size: [height, width] } = self.block;
        let sums = match out {
            Place::Full(out) => out,
            Place::Half(out) => {
                let sums = aligned(&mut self.own.sums, height * width);
                out.block(sums, self.block)
            }
        };
        let step = even_part(slab, step).max(1);
        for k in (0..slab.max(1)).step_by(step) {
            let depth = step.min(slab - k);
            let start = if k == 0 { start } else { Start::Out };
            let left = left::<W, ROWS>(self.part, self.block, k..k + depth, &mut self.own.left);
            for panel in (column..column + width).step_by(WIDTH) {
                let panel_of = |panel: usize| right.as_ptr().wrapping_add(panel * slab + k * WIDTH);
                let right = &right[panel * slab + k * WIDTH..][..depth * WIDTH];
                for at in (0..height).step_by(ROWS) {
                    let size = [ROWS.min(height - at), WIDTH.min(column + width - panel)];
                    let corner = Corner { out: sums, first: [row + at, panel], size, start };
                    // Each tile asks for its share of the panel that comes next.
                    let next = panel_of(panel + WIDTH).wrapping_add(depth * WIDTH / height * at);
                    let right = Panel { values: right, depth, next, share: (WIDTH * ROWS).div_ceil(height) };
                    // SAFETY: the corner and the tile behind it lie in this task's block of the destination; `left` has
                    // been checked to hold the block's rows of this slab or packed from them, and `right` has just been
                    // cut.
                    unsafe { tile::<W, S, ROWS, VECTORS, WIDTH>(simd, left, at, right, corner) };
                }
            }
        }
        self.block.finish::<W>(sums, out, finish);
    }
}

/// Rows of a block of the left operand for some words of a slab, written or packed if they do not lie in memory as words.
#[inline(always)]
fn left<'a, W: Word, const ROWS: usize>(
    part: Slab<'a>,
    block: Block,
    words: Range<usize>,
    own: &'a mut Vec<f32>,
) -> Left<'a> {
    let Slab { left, inner, first, left_sums, .. } = part;
    let ([row, column], height) = (block.first, block.size[0]);
    let word = first + words.start;
    if let (Adjacent::Inner, Some((values, stride))) = (left.adjacent, left.in_place::<W>(inner)) {
        let values = values.wrapping_byte_add(row * stride).wrapping_add(word);
        return Left::Rows { values, stride, rows: height };
    }
    let depth = words.len();
    let len = height.next_multiple_of(ROWS) * depth;
    let panels = aligned(own, len);
    let inner = word * W::VALUES..inner.min((word + depth) * W::VALUES);
    if left.adjacent == Adjacent::Inner {
        pack::rows::<W>(left, row..row + height, inner, panels);
        return Left::Rows { values: panels.as_ptr(), stride: depth * size_of::<f32>(), rows: height };
    }
    pack::narrow::<W, ROWS>(left, row..row + height, inner, panels);
    if let (Some(sums), 0) = (left_sums, column) {
        // SAFETY: the sums of this task's rows, which no other task with column 0 has.
        let sums = unsafe { std::slice::from_raw_parts_mut(sums.at(row, 0), height) };
        pack::add_sums::<W, ROWS>(panels, depth, sums);
    }
    Left::Panels { values: panels, depth }
}
