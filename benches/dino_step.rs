//! Times whole DINO training steps on random images and prints JSON, like `bench/peers/dino_step.py` does for PyTorch.
//!
//! `cargo bench --bench dino_step -- --batch 8 --steps 10` (ViT-S/16, 2 × 224 + 8 × 96, K = 65,536, f32). Options name the
//! sizes: `--dim --depth --heads --patch --global --local --locals --hidden --bottleneck --out-dim --drop-path`.
#![expect(clippy::panic, reason = "a failed step ends the measurement")]

use std::time::Instant;

use dinoxide::methods::Device;
use dinoxide::methods::dino::{Balance, Dino, DinoConfig};
use dinoxide::nn::dino_head::{DinoHeadConfig, HeadNorm, LastLayer};
use dinoxide::nn::vit::VitConfig;
use dinoxide::schedule::Scheduled;
use dinoxide::train::optimizer::{Clip, Optimizer, Rule};
use dinoxide::train::step::{Crops, TrainState};
use dinoxide_engine::cpu::Cpu;
use dinoxide_engine::kernels::Normalize;
use dinoxide_engine::tensor::Pool;

/// The value after `--name`, or the default.
fn option(name: &str, default: f64) -> f64 {
    let mut arguments = std::env::args();
    arguments.find(|argument| argument.strip_prefix("--") == Some(name));
    arguments.next().and_then(|value| value.parse().ok()).unwrap_or(default)
}

fn size(name: &str, default: usize) -> usize {
    option(name, default as f64) as usize
}

fn main() {
    let (dim, batch, steps) = (size("dim", 384), size("batch", 8), size("steps", 10));
    let (global, local, locals) = (size("global", 224), size("local", 96), size("locals", 8));
    let config = DinoConfig {
        backbone: VitConfig {
            image_size: global,
            patch_size: size("patch", 16),
            embed_dim: dim,
            depth: size("depth", 12),
            num_heads: size("heads", 6),
            mlp_ratio: 4.0,
            normalize: Normalize { mean: vec![0.485, 0.456, 0.406], std: vec![0.229, 0.224, 0.225] },
        },
        head: DinoHeadConfig {
            in_dim: dim,
            out_dim: size("out-dim", 65_536),
            hidden_dim: size("hidden", 2048),
            bottleneck_dim: size("bottleneck", 256),
            layers: 3,
            norm: HeadNorm::None,
            last_layer: LastLayer::Normalized,
        },
        student_temp: 0.1,
        balance: Balance::Center { momentum: 0.9 },
        drop_path: option("drop-path", 0.1),
        seed: 0,
    };
    let (method, student) = Dino::new(config);
    let optimizer = Optimizer::new(Rule::AdamW, &student);
    let mut state = TrainState::new(Box::new(method), student, optimizer, Clip::Tensor(3.0));
    let (cpu, pool) = (Cpu::new(), Pool::new());
    let device = Device { kernels: &cpu, pool: &pool };
    let bytes = |views: usize, side: usize| -> Vec<u8> {
        (0..views * batch * side * side * 3).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
    };
    let (globals, local_bytes) = (bytes(2, global), bytes(locals, local));
    let crops = [
        Crops { pixels: &globals, side: global, views: 2 },
        Crops { pixels: &local_bytes, side: local, views: locals },
    ];
    let mut times = Vec::new();
    for step in 0..steps + 2 {
        let at = Scheduled {
            step,
            epoch: 1,
            lr: 1e-4,
            weight_decay: 0.04,
            momentum: 0.996,
            teacher_temp: 0.04,
            freeze_last_layer: false,
        };
        let begun = Instant::now();
        state.step(device, &crops, batch, &at).unwrap_or_else(|error| panic!("{error}"));
        // The first two steps warm caches and the memory pool.
        if step >= 2 {
            times.push(begun.elapsed().as_secs_f64() * 1e3);
        }
    }
    times.sort_by(f64::total_cmp);
    let median = times[times.len() / 2];
    println!(
        "{{\"median_ms\": {median:.1}, \"min_ms\": {:.1}, \"max_ms\": {:.1}, \"images_per_second\": {:.3}, \
         \"peak_mb\": {:.0}, \"steps\": {steps}, \"batch\": {batch}}}",
        times[0],
        times[times.len() - 1],
        batch as f64 * 1e3 / median,
        pool.peak_bytes() as f64 / 1e6,
    );
}
