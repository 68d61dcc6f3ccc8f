//! Matrix products, from operands in any layout to the last element-wise operation on the result.
//!
//! Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication" (2008), in this form: the inner dimension is
//! cut into slabs; of each slab the right operand is copied once into panels as wide as a register tile (`pack`), shared by
//! all threads. Then blocks of the result are tasks. Within a task register tiles (`tile`) run down a panel that stays in the
//! first-level cache, or comes from the second one in time; the left operand is read in place if it lies along the inner dimension, else the task packs its own
//! rows of it, which then stay in the second-level cache.
//!
//! Blocks are many and independent, so a thread that the machine slows down takes fewer of them. The order in which an
//! element is summed up depends on the sizes of the product and the width of a vector: the same bits for any number of
//! threads.

mod destination;
mod pack;
mod tile;

use std::cell::Cell;
use std::marker::PhantomData;
use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};

use super::cache::aligned;
use super::chunk::check_len;
use super::peak::multiply_add_rate;
#[cfg(target_arch = "x86_64")]
use super::word::{Hardware, available};
use super::word::{Pair, Single, Word};
use crate::team::for_each;
use crate::values::{Values, ValuesMut};
use destination::{Destination, Place};
use tile::{Corner, Left, Panel, tile};

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

/// Vectors along the inner dimension: rows of the left operand, columns of the right one.
#[derive(Debug, Clone, Copy)]
pub struct Operand<'a> {
    /// All values.
    pub values: Values<'a, f32>,
    /// Distance between neighbours in memory, in the direction in which they are not adjacent.
    pub stride: usize,
    /// Which neighbours are adjacent.
    pub adjacent: Adjacent,
}

/// Which values of an operand lie side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adjacent {
    /// Those of one vector: element (i, k) is at `i·stride + k`.
    Inner,
    /// Those of neighbouring vectors: element (i, k) is at `k·stride + i`.
    Vectors,
}

impl<'a> Operand<'a> {
    /// The rows of a row-major matrix of `columns` columns.
    pub fn rows(values: impl Into<Values<'a, f32>>, columns: usize) -> Self {
        Self { values: values.into(), stride: columns, adjacent: Adjacent::Inner }
    }

    /// The columns of a row-major matrix of `columns` columns.
    pub fn columns(values: impl Into<Values<'a, f32>>, columns: usize) -> Self {
        Self { values: values.into(), stride: columns, adjacent: Adjacent::Vectors }
    }

    /// Some of the values that are adjacent: of vector `line`, or of the vectors at inner index `line`.
    #[inline(always)]
    fn line(&self, line: usize, range: Range<usize>) -> Values<'a, f32> {
        self.values.part(line * self.stride + range.start..line * self.stride + range.end)
    }

    /// Those that words of the vectors at inner index `k` are made of: at `k`, and at the next one where words hold two values
    /// and there is one before `end`.
    #[inline(always)]
    fn lines<W: Word>(
        &self,
        k: usize,
        vectors: &Range<usize>,
        end: usize,
    ) -> (Values<'a, f32>, Option<Values<'a, f32>>) {
        let second = if W::VALUES > 1 && k + 1 < end { Some(self.line(k + 1, vectors.clone())) } else { None };
        (self.line(k, vectors.clone()), second)
    }

    /// Values that `vectors` vectors of `depth` values reach over.
    fn reach(&self, vectors: usize, depth: usize) -> usize {
        let (outer, inner) = match self.adjacent {
            Adjacent::Inner => (vectors, depth),
            Adjacent::Vectors => (depth, vectors),
        };
        if outer == 0 || inner == 0 { 0 } else { (outer - 1) * self.stride + inner }
    }
}

/// What the product is added to.
#[derive(Debug, Clone, Copy)]
pub enum Start<'a> {
    /// Nothing.
    Zero,
    /// What the destination holds.
    Out,
    /// This row, one value for each column.
    Bias(&'a [f32]),
}

/// What happens to a block of the result while it is in cache; `M` is how a second matrix is held.
#[derive(Debug, Clone, Copy)]
pub enum Finish<M> {
    /// Nothing.
    Keep,
    /// It is replaced by its GELU.
    Gelu,
    /// It is replaced by its GELU, and kept as it was in a second matrix of the same shape.
    GeluOf(M),
    /// It is the gradient of the GELU of a second matrix of the same shape, and becomes that of the matrix itself, which
    /// is replaced by its GELU.
    GeluBackward(M),
}

impl<M> Finish<M> {
    fn map<N>(self, change: impl FnOnce(M) -> N) -> Finish<N> {
        match self {
            Self::Keep => Finish::Keep,
            Self::Gelu => Finish::Gelu,
            Self::GeluOf(second) => Finish::GeluOf(change(second)),
            Self::GeluBackward(second) => Finish::GeluBackward(change(second)),
        }
    }
}

/// `out = start + left·right`: `out[i, j] = start[i, j] + Σ_k left(i, k)·right(j, k)`.
#[derive(Debug)]
pub struct Product<'a> {
    /// `rows` vectors.
    pub left: Operand<'a>,
    /// `columns` vectors.
    pub right: Operand<'a>,
    /// Rows and columns of the result, and the inner dimension.
    pub size: [usize; 3],
    /// What the sums start from.
    pub start: Start<'a>,
    /// What follows.
    pub finish: Finish<ValuesMut<'a, f32>>,
    /// Added to, if there are columns: the sum of each vector of the left operand, whose neighbouring vectors are adjacent.
    pub left_sums: Option<&'a mut [f32]>,
}

/// What multiplies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Units {
    /// Multiply-adds of `f32`.
    F32,
    /// Products of bf16 pairs, by the instructions every machine has.
    Pairs,
    /// Products of bf16 pairs, by their own instruction.
    #[cfg(target_arch = "x86_64")]
    Hardware,
}

impl Units {
    /// The most operations per second they reach together on the threads of the current rayon pool.
    pub fn peak(self, arch: Arch) -> f64 {
        match self {
            Self::F32 => multiply_add_rate::<Single>(arch),
            Self::Pairs => multiply_add_rate::<Pair>(arch),
            #[cfg(target_arch = "x86_64")]
            Self::Hardware => multiply_add_rate::<Hardware>(arch),
        }
    }

    /// Those of this machine that multiply bf16.
    pub fn of_pairs(arch: Arch) -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        if available(arch) {
            return Some(Self::Hardware);
        }
        let _ = arch;
        None
    }
}

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
    match units {
        Units::F32 => for_lanes::<Single>(arch, product, out),
        Units::Pairs => for_lanes::<Pair>(arch, product, out),
        #[cfg(target_arch = "x86_64")]
        Units::Hardware => run::<Hardware, 8, 3, 48>(arch, product, out),
    }
}

/// [`multiply`] with the register tile for the machine's vectors: 12 or 24 sums leave room for their factors among 16 or 32
/// registers.
fn for_lanes<W: Word>(arch: Arch, product: Product<'_>, out: ValuesMut<'_, f32>) {
    match arch.dispatch(Lanes) {
        16 => run::<W, 8, 3, 48>(arch, product, out),
        8 => run::<W, 6, 2, 16>(arch, product, out),
        4 => run::<W, 6, 2, 8>(arch, product, out),
        _ => run::<W, 4, 4, 4>(arch, product, out),
    }
}

/// Width of a vector.
struct Lanes;

impl WithSimd for Lanes {
    type Output = usize;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> usize {
        S::F32_LANES
    }
}

/// [`multiply`] with register tiles of `ROWS` rows by `VECTORS` vectors, `WIDTH` columns.
fn run<W: Word, const ROWS: usize, const VECTORS: usize, const WIDTH: usize>(
    arch: Arch,
    product: Product<'_>,
    out: ValuesMut<'_, f32>,
) {
    let Product { mut left, mut right, size: [mut rows, mut columns, inner], start, finish, left_sums } = product;
    let mut out = Place::new(out, columns);
    let left_sums = left_sums.map(|sums| Destination::new(sums, 1));
    let mut finish = finish.map(|second| Place::new(second, columns));
    let few = rows < FEW && left.adjacent == Adjacent::Inner && right.adjacent == Adjacent::Inner;
    if few {
        (left, right, rows, columns) = (right, left, columns, rows);
        out = out.transposed();
        finish = finish.map(Place::transposed);
    }
    let depth = inner.div_ceil(W::VALUES);
    let packed = left.adjacent == Adjacent::Vectors || W::in_place(left.values, left.stride, inner).is_none();
    let blocks = blocks([rows, columns], packed, [ROWS, WIDTH]);
    let packed_columns = columns.next_multiple_of(WIDTH);
    let step = if few { DEPTH_FEW } else { const { deep(WIDTH) } };
    let slab = match out {
        Place::Full(_) => even_part(depth, (SLAB / packed_columns).max(step)),
        // Sums are not continued once they are rounded.
        Place::Half(_) => depth,
    };
    let mut memory = RIGHT.take();
    let len = packed_columns * slab;
    let slabs = if slab < depth { 2 } else { 1 };
    let (mut panels, mut spare) = aligned(&mut memory, slabs * len).split_at_mut(len);
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
    if let (Adjacent::Inner, Some((values, stride))) = (left.adjacent, W::in_place(left.values, left.stride, inner)) {
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
