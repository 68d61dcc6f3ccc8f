//! Position embeddings at other image sizes against PyTorch's `interpolate`: values, and the gradient of the stored table.

mod support;

use dinoxide::nn::pos_embed::{Resampling, position_mix};
use dinoxide_engine::cpu::Cpu;
use dinoxide_engine::kernels::Kernels as _;
use support::{Fixture, assert_close, filler, fixtures};

/// The weights are f64 rounded to f32 and sixteen products are summed in f32; PyTorch's own f32 run is off by 1e-6.
const TOLERANCE: f64 = 1e-5;

#[test]
fn interpolated_positions_and_their_gradient_equal_pytorch() {
    for path in fixtures("pos") {
        let fixture = Fixture::open(&path);
        let (grid, patch, dim) = (fixture.usize("grid"), fixture.usize("patch"), fixture.usize("dim"));
        let (height, width) = (fixture.usize("height"), fixture.usize("width"));
        let (rows, columns) = (height / patch, width / patch);
        let table = filler("pos_embed", (grid * grid + 1) * dim, 1.0, 0.0);
        let d_out = filler("grad", (rows * columns + 1) * dim, 1.0, 0.0);
        // The class token's position is never interpolated.
        let (class, patches) = table.split_at(dim);
        let (d_class, d_patches) = d_out.split_at(dim);
        let (mut out, mut grad) = (class.to_vec(), d_class.to_vec());
        match position_mix(grid, [rows, columns], height == width, Resampling::Offset) {
            None => {
                out.extend(patches);
                grad.extend(d_patches);
            }
            Some(mix) => {
                let (mut mixed, mut d_table) = (vec![0.0; rows * columns * dim], vec![0.0; grid * grid * dim]);
                Cpu::new().mix_rows(patches, &mix, dim, &mut mixed);
                Cpu::new().mix_rows_backward(d_patches, &mix, dim, &mut d_table);
                out.extend(mixed);
                grad.extend(d_table);
            }
        }
        assert_close(&path, out, &fixture.values("out"), TOLERANCE);
        assert_close(&path, grad, &fixture.values("grad"), TOLERANCE);
    }
}

#[test]
fn only_a_square_image_of_the_stored_size_is_not_interpolated() {
    assert!(position_mix(14, [14, 14], true, Resampling::Offset).is_none());
    // The reference compares sides, not grids: 7 × 28 patches are as many as 14 × 14 and still another grid.
    assert!(position_mix(14, [7, 28], false, Resampling::Offset).is_some());
    assert!(position_mix(14, [13, 13], true, Resampling::Offset).is_some());
}
