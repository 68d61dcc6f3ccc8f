//! A run folder as training leaves it, of a tiny network with random weights.
#![allow(dead_code, clippy::allow_attributes, reason = "each test uses its own part")]
#![allow(clippy::unwrap_used, reason = "a failed preparation is a failed test")]

use std::path::{Path, PathBuf};

use dinoxide::checkpoint::{self, Part, Slot, TensorRef};
use dinoxide::config::Config;
use dinoxide::methods::Method as _;
use dinoxide::methods::dino::Dino;
use dinoxide::run::folder::{RunFolder, WhenExists};
use dinoxide::run::model::dino_config;
use dinoxide_engine::params::Params;

pub const WIDTH: usize = 24;
pub const HEADS: usize = 3;
pub const PATCH: usize = 8;

/// The student differs from the teacher.
pub fn run_folder(place: &Path, global_px: u32) -> PathBuf {
    changed_run_folder(place, global_px, |_, _| {})
}

/// The same with every weight of the teacher changed, by the tensor's name.
pub fn changed_run_folder(place: &Path, global_px: u32, change: impl Fn(&str, &mut [f32])) -> PathBuf {
    let mut config = Config::default();
    config.data.train = vec!["photos".to_owned()];
    config.model.name = "vit_tiny".to_owned();
    (config.model.embed_dim, config.model.depth, config.model.num_heads) = (Some(WIDTH), Some(2), Some(HEADS));
    (config.model.patch_size, config.model.image_size) = (PATCH, 32);
    (config.head.out_dim, config.head.hidden_dim, config.head.bottleneck_dim) = (40, 32, 16);
    (config.views.global.size, config.views.local.size) = (global_px, 16);
    let path = place.join(format!("run-{global_px}"));
    let folder = RunFolder::open(&path, &config, WhenExists::Resume).unwrap();
    let (method, mut student) = Dino::new(dino_config(&config).unwrap());
    student.values_mut().iter_mut().for_each(|value| *value *= 1.5);
    let mut teacher = method.teacher().clone();
    for spec in teacher.layout().specs().to_vec() {
        change(&spec.name, &mut teacher.values_mut()[spec.range()]);
    }
    let state = method.state();
    let center = state.iter().map(|t| TensorRef { name: t.name, shape: &t.shape, values: &t.values }).collect();
    let parts = [
        Part { name: "student", tensors: tensors(&student) },
        Part { name: "teacher", tensors: tensors(&teacher) },
        Part { name: "method", tensors: center },
    ];
    checkpoint::save(&folder.checkpoints(), Slot::Last, &parts, &serde_json::json!({})).unwrap();
    path
}

fn tensors(params: &Params) -> Vec<TensorRef<'_>> {
    params.tensors().map(|(spec, values)| TensorRef { name: &spec.name, shape: &spec.shape, values }).collect()
}
