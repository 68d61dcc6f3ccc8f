//! Jigsaw views: an image cut into 3 × 3 patches, which are projected one by one and joined in random order to one row. PIRL (Misra and
//! van der Maaten 2020), section 3.2; InfoMin's `networks/util.py:JigsawHead`.

use std::rc::Rc;

use dinoxide_engine::kernels::{Grid, Patches, Window};
use dinoxide_engine::tape::{Convolution, Tape};
use dinoxide_engine::tensor::Matrix;
use rand::Rng;

use super::draws::keyed;
use super::init::{Init, Registry};
use super::mlp::{Mlp, MlpConfig};

/// Cells along a side.
const SIDE: usize = 3;
/// Cells, and patches, of an image.
pub const CELLS: usize = SIDE * SIDE;
/// The part of a cell's side that a patch has, 64 of 74 pixels for crops of 224: what is left is room to shift it.
const PART: (usize, usize) = (7, 8);
/// Tells these draws from others of the same seed, step and image.
const PURPOSE: u64 = 1 << 32;

/// Side of the patches of a crop of side `crop`, a multiple of `unit`; 0 if there is no room for one.
pub fn patch_side(crop: usize, unit: usize) -> usize {
    let (part, of) = PART;
    crop / SIDE * part / of / unit * unit
}

/// The draws of one step.
#[derive(Debug, Clone, Copy)]
pub struct JigsawDraw {
    /// The run's seed.
    pub seed: u64,
    /// The step.
    pub step: u64,
    /// Position of the first image of this micro-batch in the effective batch.
    pub first_image: usize,
}

/// Where the patches of an image come from, and where they go.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Cut {
    /// Upper left corner of the patch of each cell: row, column.
    corners: Vec<[usize; 2]>,
    /// Which patch stands at each place of the joined row.
    order: [usize; CELLS],
}

impl JigsawDraw {
    /// Draws for image number `image` of the micro-batch.
    fn cut(&self, image: usize, cell: usize, side: usize) -> Cut {
        let image = (self.first_image + image) as u64;
        let mut random = keyed([self.seed, self.step, image, PURPOSE]);
        let mut below = |count: usize| (random.next_u64() % count as u64) as usize;
        let mut order: [usize; CELLS] = std::array::from_fn(|place| place);
        (0..CELLS).for_each(|place| order.swap(place, place + below(CELLS - place)));
        let mut shift = || below(cell - side + 1);
        let corner = |number: usize| [number / SIDE * cell + shift(), number % SIDE * cell + shift()];
        Cut { corners: (0..CELLS).map(corner).collect(), order }
    }

    /// The patches of images, patch-major: patch p of image b is number `p·B + b`.
    ///
    /// # Shapes
    /// `pixels` `[B, H, W, C]` of the sizes `images`; the result `[9·B, side, side, C]`.
    pub fn patches<T: Copy>(&self, pixels: &[T], images: Patches, side: usize) -> Vec<T> {
        let (row, cell) = (images.width * images.channels, images.height.min(images.width) / SIDE);
        let cuts: Vec<Cut> = (0..images.images).map(|image| self.cut(image, cell, side)).collect();
        let mut patches = Vec::with_capacity(CELLS * images.images * side * side * images.channels);
        for number in 0..CELLS {
            for (image, cut) in pixels.chunks_exact(images.height * row).zip(&cuts) {
                let [top, left] = cut.corners[number];
                for line in image.chunks_exact(row).skip(top).take(side) {
                    patches.extend_from_slice(&line[left * images.channels..][..side * images.channels]);
                }
            }
        }
        patches
    }

    /// The row of each patch, image-major and in the order in which they are joined.
    fn rows(&self, images: usize) -> Rc<[u32]> {
        // The order does not depend on sizes.
        let rows =
            (0..images).flat_map(|image| self.cut(image, 1, 1).order.map(|patch| (patch * images + image) as u32));
        rows.collect()
    }
}

/// The projector of patches, and what makes one row of nine.
#[derive(Debug, Clone)]
pub struct JigsawHead {
    projector: Mlp,
    join: Convolution,
}

impl JigsawHead {
    /// Registers all tensors under `prefix`: an MLP of these sizes for each patch, and `join`, a linear layer on nine of them.
    pub fn new(sizes: &MlpConfig, prefix: &str, registry: &mut Registry) -> Self {
        let (projector, width) = (Mlp::new(sizes, prefix, registry), sizes.out_dim);
        let init = Init::FanIn(CELLS * width);
        // A linear layer on the nine rows of an image is a convolution of an image of 3 × 3 pixels.
        let weight = registry.trained(format!("{prefix}join.weight"), &[width, width, SIDE, SIDE], init);
        let bias = registry.trained(format!("{prefix}join.bias"), &[width], init);
        let window = Window { kernel: SIDE, stride: 1, padding: 0 };
        Self { projector, join: Convolution { weight, bias: Some(bias), window } }
    }

    /// Features of patches `[9·B, D]`, patch-major, to one row for each image, `[B, out_dim]`.
    pub fn forward(&self, tape: &mut Tape<'_>, features: &Matrix, draw: &JigsawDraw) -> Matrix {
        let images = features.rows() / CELLS;
        let patches = self.projector.forward(tape, features, 1);
        let shuffled = tape.gather_rows(&patches, draw.rows(images));
        tape.conv2d(&shuffled, Grid { images, height: SIDE, width: SIDE }, self.join)
    }
}
