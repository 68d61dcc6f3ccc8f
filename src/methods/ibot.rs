//! iBOT and DINOv2: DINO whose student also says what is under masked patches. iBOT (Zhou et al. 2022), section 3; DINOv2 (Oquab et al.
//! 2023), section 4, which adds KoLeo, heads apart, and Sinkhorn–Knopp; `ssl_meta_arch.py`.
//!
//! The teacher sees every global crop whole. Of its patches only those that the student does not see are compared.

use std::rc::Rc;

use dinoxide_engine::params::Params;
use dinoxide_engine::tape::{Loss, Tape};
use dinoxide_engine::tensor::Matrix;

use super::center::{Balance, Center};
use super::prototypes::{Comparison, Pairs};
use super::{BACKBONE, Encoder, Forward, ForwardSeconds, Lap, Method, Outputs, StateTensor, Views, dino, store};
use crate::loss::koleo::koleo_loss;
use crate::nn::backbone::Backbone;
use crate::nn::dino_head::{DinoHead, DinoHeadConfig};
use crate::nn::init::Registry;
use crate::nn::masking::{MaskKey, Masking, Masks};
use crate::nn::vit::{MaskToken, Patchwise, Sight, Vit, VitConfig};
use crate::schedule::Scheduled;

/// Prefix of the tensors of a head for patches alone.
pub const PATCH_HEAD: &str = "ibot_head.";
/// Names of the centres in checkpoints: of class tokens, of patches.
const CENTERS: [&str; 2] = ["center", "center2"];
/// Lower clamp of the norm of KoLeo's features.
const KOLEO_NORM_EPS: f64 = 1e-8;

/// What iBOT is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct IbotConfig {
    /// The backbone of student and teacher; it gets a mask token.
    pub vit: VitConfig,
    /// Drop-path rate of the student's last block.
    pub drop_path: f64,
    /// Seed of the initial weights, of drop path and of masks.
    pub seed: u64,
    /// The projection head of class tokens.
    pub head: DinoHeadConfig,
    /// The projection head of patches, where it is not the same.
    pub patch_head: Option<DinoHeadConfig>,
    /// Student temperature, 0.1 in the paper.
    pub student_temp: f64,
    /// What keeps one prototype from winning everywhere.
    pub balance: Balance,
    /// Which patches the student does not see.
    pub masking: Masking,
    /// Weight of the loss of masked patches.
    pub patch_weight: f64,
    /// Weight of KoLeo, 0.1 in DINOv2; 0 for none.
    pub koleo_weight: f64,
}

/// Teacher, centres and the shape of both networks.
#[derive(Debug, Clone)]
pub struct Ibot {
    encoder: Encoder,
    vit: Vit,
    head: DinoHead,
    patch_head: DinoHead,
    teacher: Params,
    centers: [Center; 2],
    config: IbotConfig,
}

/// What a network makes of the views: class tokens, and bottlenecks of these and of the patches asked for.
struct Seen {
    class: Matrix,
    bottleneck: Matrix,
    /// Absent if no patch was asked for.
    patches: Option<Matrix>,
}

impl Ibot {
    /// Builds both networks and returns the method with the student's parameters. The teacher starts as an exact copy.
    pub fn new(mut config: IbotConfig) -> (Self, Params) {
        let mut registry = Registry::new();
        config.vit.extras.mask_token = MaskToken::Trained;
        let vit = Vit::new(config.vit.clone(), BACKBONE, &mut registry);
        let IbotConfig { drop_path, seed, .. } = config;
        let encoder = Encoder { backbone: Backbone::Vit(vit.clone()), drop_path, seed };
        let head = DinoHead::new(&config.head, dino::HEAD, &mut registry);
        let patch_head = match &config.patch_head {
            None => head.clone(),
            Some(config) => DinoHead::new(config, PATCH_HEAD, &mut registry),
        };
        let student = registry.finish(seed);
        let widths = [config.head.out_dim, config.patch_head.as_ref().unwrap_or(&config.head).out_dim];
        let centers = widths.map(|width| config.balance.center(width));
        (Self { encoder, vit, head, patch_head, teacher: student.clone(), centers, config }, student)
    }

    /// Builds the loss with these masks of the global crops, view-major. [`Method::forward`] draws them.
    pub fn forward_masked<'a>(
        &'a self,
        tape: &mut Tape<'a>,
        views: &Views<'_>,
        at: &Scheduled,
        masks: &Masks,
    ) -> Forward {
        let (mut clock, count) = (Lap::start(), views.count());
        let rows: Rc<[u32]> = masks.rows(views.groups[0].patches.per_image()).into();

        // Teacher: global crops only, seen whole, no gradient, no drop path.
        let mut frozen = Tape::infer(tape.kernels(), &self.teacher, tape.pool());
        frozen.continue_statistics(views.teacher_statistics.clone());
        let asked = Patchwise { rows: Rc::clone(&rows), sight: Sight::Seen };
        let [class, patches] = self.tokens(&mut frozen, (views, 1), &asked, None);
        let theirs = self.see(&mut frozen, class, &patches);
        let teacher = clock.seconds();

        // Student: all crops, global ones with masks.
        let asked = Patchwise { rows, sight: Sight::Masked };
        let [class, patches] = self.tokens(tape, (views, 2), &asked, Some(at));
        let ours = self.see(tape, class, &patches);
        let student = clock.seconds();

        // Both over the prototypes.
        let IbotConfig { patch_weight, koleo_weight, .. } = self.config;
        let (loss, targets) =
            self.comparison(0, at).loss(tape, [&ours.bottleneck, &theirs.bottleneck], Pairs::Views(count));
        let mut outputs = Outputs { targets, ..Outputs::default() };
        let mut losses = vec![(loss, 1.0)];
        if let (Some(ours), Some(theirs)) = (&ours.patches, &theirs.patches) {
            let (loss, sums) = self.comparison(1, at).loss(tape, [ours, theirs], Pairs::Rows(masks.weights()));
            (outputs.terms.patches, outputs.patch_targets) = (patch_weight * loss.value, sums);
            losses.push((loss, patch_weight));
        }
        if koleo_weight > 0.0 {
            let loss = self.koleo(tape, &ours.class, views);
            outputs.terms.koleo = koleo_weight * loss.value;
            losses.push((loss, koleo_weight));
        }
        let loss = tape.sum(&losses);
        outputs.student_statistics = tape.take_statistics();
        outputs.teacher_statistics = frozen.take_statistics();
        Forward { loss, outputs, seconds: ForwardSeconds { teacher, student, loss: clock.seconds() } }
    }

    /// Class tokens and those of the patches asked for; with the draws of a step where there are some.
    fn tokens(
        &self,
        tape: &mut Tape<'_>,
        (views, groups): (&Views<'_>, usize),
        asked: &Patchwise,
        at: Option<&Scheduled>,
    ) -> [Matrix; 2] {
        let groups = &views.groups[..groups.min(views.groups.len())];
        let kept = at.and_then(|at| self.encoder.drop_path(groups, views, at));
        self.vit.class_and_patch_tokens(tape, groups, asked, kept.as_ref())
    }

    fn see(&self, tape: &mut Tape<'_>, class: Matrix, patches: &Matrix) -> Seen {
        let bottleneck = self.head.bottleneck(tape, &class); // [V·B, bottleneck_dim]
        let patches = (patches.rows() > 0).then(|| self.patch_head.bottleneck(tape, patches)); // [M, its bottleneck_dim]
        Seen { class, bottleneck, patches }
    }

    /// How class tokens (0) or patches (1) are compared.
    fn comparison(&self, which: usize, at: &Scheduled) -> Comparison<'_> {
        Comparison {
            head: [&self.head, &self.patch_head][which],
            teacher: &self.teacher,
            balance: (self.config.balance, &self.centers[which]),
            teacher_temp: at.teacher_temp,
            student_temp: self.config.student_temp,
        }
    }

    /// KoLeo of the student's class tokens of the global crops.
    fn koleo(&self, tape: &mut Tape<'_>, class: &Matrix, views: &Views<'_>) -> Loss {
        let global = views.count().teacher * views.images;
        let class = tape.gather_rows(class, (0..global as u32).collect());
        let unit = tape.l2_normalize(&class, KOLEO_NORM_EPS);
        koleo_loss(tape, &unit, views.images)
    }
}

impl Method for Ibot {
    fn forward<'a>(&'a self, tape: &mut Tape<'a>, views: &Views<'_>, at: &Scheduled) -> Forward {
        let patches = views.groups[0].patches;
        let (seed, step, first_image) = (self.config.seed, at.step as u64, views.first_image as u64);
        let masks = self.config.masking.draw(MaskKey { seed, step, first_image }, patches.images, patches.grid());
        self.forward_masked(tape, views, at, &masks)
    }

    fn average(&mut self, at: &Scheduled) -> Option<(&mut Params, f64)> {
        Some((&mut self.teacher, at.momentum))
    }

    fn after_update(&mut self, outputs: Outputs, _at: &Scheduled) {
        let Outputs { targets, patch_targets, teacher_statistics, .. } = outputs;
        for (center, sums) in self.centers.iter_mut().zip([targets, patch_targets]) {
            center.update(&sums.logits, sums.rows);
        }
        store(&mut self.teacher, teacher_statistics);
    }

    fn backbone(&self) -> (&Backbone, &Params) {
        (&self.encoder.backbone, &self.teacher)
    }

    fn state(&self) -> Vec<StateTensor> {
        let tensor = |(name, center): (&'static str, &Center)| {
            let values = center.values().to_vec();
            StateTensor { name, shape: vec![1, values.len()], values }
        };
        CENTERS.into_iter().zip(&self.centers).map(tensor).collect()
    }

    fn restore(&mut self, name: &str, values: &[f32]) -> bool {
        let named = CENTERS.into_iter().zip(&mut self.centers).find(|(known, _)| *known == name);
        let fitting = named.filter(|(_, center)| center.values().len() == values.len());
        fitting.map(|(_, center)| center.set(values)).is_some()
    }

    fn teacher_mut(&mut self) -> &mut Params {
        &mut self.teacher
    }
}
