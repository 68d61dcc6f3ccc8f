//! iBOT and DINOv2 with the masks of a fixture in the place of drawn ones.

use dinoxide::methods::center::Balance;
use dinoxide::methods::ibot::{Ibot, IbotConfig};
use dinoxide::methods::{Forward, Method, Outputs, StateTensor, Views};
use dinoxide::nn::backbone::Backbone;
use dinoxide::nn::dino_head::{DinoHeadConfig, HeadNorm, LastLayer};
use dinoxide::nn::masking::{Masking, Masks};
use dinoxide::schedule::Scheduled;
use dinoxide_engine::params::Params;
use dinoxide_engine::tape::Tape;

use super::support::{Fixture, vit_config};

/// Whether a fixture is of these methods.
pub fn is(name: &str) -> bool {
    matches!(name, "ibot" | "dinov2")
}

/// The masks of each step, or of one where the crops of all are rows of the tensor.
pub fn masks(fixture: &Fixture, name: &str, patches: usize) -> Vec<Masks> {
    let flags = fixture.values(name);
    let crops = fixture.usize("batch") * 2;
    let of_crop = |flags: &[f64]| (0..patches as u32).filter(|patch| flags[*patch as usize] > 0.0).collect();
    flags
        .chunks_exact(crops * patches)
        .map(|step| Masks { crops: step.chunks_exact(patches).map(of_crop).collect() })
        .collect()
}

/// A method that takes its masks from a list, one entry for each step.
pub struct Scripted {
    method: Ibot,
    masks: Vec<Masks>,
}

/// The method of a fixture and its student.
pub fn scripted(fixture: &Fixture) -> (Scripted, Params) {
    let head = DinoHeadConfig {
        in_dim: fixture.usize("dim"),
        out_dim: fixture.usize("out_dim"),
        hidden_dim: fixture.usize("hidden"),
        bottleneck_dim: fixture.usize("bottleneck"),
        layers: fixture.usize("layers"),
        norm: HeadNorm::None,
        last_layer: LastLayer::Normalized,
    };
    let (out_dim, koleo_weight) = (fixture.usize("patch_out_dim"), fixture.f64("koleo"));
    let momentum = fixture.f64("center_momentum");
    let config = IbotConfig {
        vit: vit_config(fixture, "global"),
        drop_path: 0.0,
        seed: 0,
        patch_head: (out_dim > 0).then(|| DinoHeadConfig { out_dim, ..head.clone() }),
        head,
        student_temp: fixture.f64("student_temp"),
        balance: if koleo_weight > 0.0 { Balance::SINKHORN_KNOPP } else { Balance::Center { momentum } },
        masking: Masking { probability: 0.5, ratio: [0.1, 0.5] },
        patch_weight: fixture.f64("patch_weight"),
        koleo_weight,
    };
    let side = config.vit.base_grid();
    let (method, student) = Ibot::new(config);
    (Scripted { method, masks: masks(fixture, "queue.2", side * side) }, student)
}

impl Method for Scripted {
    fn forward<'a>(&'a self, tape: &mut Tape<'a>, views: &Views<'_>, at: &Scheduled) -> Forward {
        self.method.forward_masked(tape, views, at, &self.masks[at.step])
    }

    fn average(&mut self, at: &Scheduled) -> Option<(&mut Params, f64)> {
        self.method.average(at)
    }

    fn after_update(&mut self, outputs: Outputs, at: &Scheduled) {
        self.method.after_update(outputs, at);
    }

    fn backbone(&self) -> (&Backbone, &Params) {
        self.method.backbone()
    }

    fn state(&self) -> Vec<StateTensor> {
        self.method.state()
    }

    fn teacher_mut(&mut self) -> &mut Params {
        self.method.teacher_mut()
    }
}
