//! The words of a page: how the run went, how to use its network, what to try next.

use dinoxide_engine::kernels::Normalize;
use dinoxide_views::pixel::RGB;

use super::early_rise::EarlyRise;
use super::numbers::Numbers;
use crate::nn::backbone::BackboneConfig;
use crate::nn::vit::VitConfig;
use crate::report::curves::StepPoint;
use crate::report::page::{Verdict, VerdictState};
use crate::run::RunError;
use crate::run::health::{Finding, Pulse, Scale, Targets};
use crate::run::model::backbone_config;
use crate::run::trained::Trained;
use crate::train::End;

/// Share of ln K from which on the teacher's entropy and the loss are those of an untrained network.
const AT_START: f64 = 0.98;
/// k-NN points by which a network should beat what needs no training, and which count as a rise.
const CLEARLY: f64 = 1.0;
/// Logged steps at the end over which the last values are averaged: the last tenth.
const LAST_SHARE: usize = 10;

/// How the run went.
pub(super) fn verdict(trained: &Trained<'_>, numbers: &Numbers) -> Verdict {
    let (state, finding) = finding(trained, numbers);
    if trained.end == End::Finished {
        return Verdict { state, sentence: finding };
    }
    let (config, step) = (&trained.folder.config, trained.state.step);
    let total = config.total_steps(trained.source.len());
    let sentence = format!("Interrupted after step {step} of {total}; {finding}");
    Verdict { state: if state == VerdictState::Healthy { VerdictState::Warning } else { state }, sentence }
}

fn finding(trained: &Trained<'_>, numbers: &Numbers) -> (VerdictState, String) {
    let config = &trained.folder.config;
    let last = numbers.steps.len().div_ceil(LAST_SHARE);
    let last = &numbers.steps[numbers.steps.len() - last..];
    if last.is_empty() {
        return (VerdictState::Warning, "no step was logged".to_owned());
    }
    let count = last.len() as f64;
    // Of a loss of several terms the one that compares the targets.
    let matching = |step: &StepPoint| Some(step.entropy? + step.kl?);
    let loss = last.iter().map(|step| matching(step).unwrap_or(step.loss)).sum::<f64>() / count;
    let entropy = last.iter().map(|step| step.entropy).sum::<Option<f64>>().map(|sum| sum / count);
    // The norm of the gradient is not among the figures of a page; the monitor has seen it.
    let batch_entropy = numbers.batch_entropy.unwrap_or(f64::INFINITY);
    let targets = entropy.map(|entropy| Targets { entropy, batch_entropy });
    let pulse = Pulse { loss, targets, grad_norm: f64::INFINITY };
    let scale = Scale::of(config);
    let state = |finding: Finding| if finding.is_collapse() { VerdictState::Failed } else { VerdictState::Warning };
    if let Some(finding) = scale.signs(&pulse).into_iter().next() {
        return (state(finding), scale.words(finding, &pulse));
    }
    if let Some(finding) = trained.findings.first() {
        return (state(*finding), format!("{} on the way (train.log says when): {}", finding.name(), finding.remedy()));
    }
    let ln_k = config.prototypes().map(|prototypes| (prototypes as f64).ln());
    if let (Some(entropy), Some(ln_k)) = (entropy, ln_k)
        && entropy > AT_START * ln_k
        && loss > AT_START * ln_k
    {
        let sentence = format!(
            "the loss has not left ln K = {ln_k:.2}: the teacher tells hardly anything apart; train longer, or lower \
             `dino.teacher_temp` or the learning rate"
        );
        return (VerdictState::Failed, sentence);
    }
    match (numbers.trained, numbers.accuracy.last()) {
        (Some(top1), _) => knn_finding(top1, numbers),
        (None, Some(at)) => {
            let before = numbers.accuracy.first().filter(|first| first.epoch < at.epoch);
            let sentence = format!("top-1 {:.1} % on validation images, loss {loss:.2}", at.top1);
            match before.filter(|before| at.top1 <= before.top1) {
                None => (VerdictState::Healthy, sentence),
                Some(before) => {
                    let words = format!("{sentence}: no better than {:.1} % before; train longer", before.top1);
                    (VerdictState::Warning, words)
                }
            }
        }
        (None, None) => {
            let end = ln_k.map_or_else(
                || ", nothing found wrong".to_owned(),
                |ln_k| format!(" of ln K = {ln_k:.2}, without collapse"),
            );
            (VerdictState::Healthy, format!("loss {loss:.2}{end}"))
        }
    }
}

/// A network is worth its training only if it beats everything that needs none.
fn knn_finding(top1: f64, numbers: &Numbers) -> (VerdictState, String) {
    let floors = numbers.floors();
    let listed: Vec<String> = floors.iter().map(|(name, floor)| format!("{name} {floor:.1} %")).collect();
    let (listed, trend) = (listed.join(", "), trend(numbers));
    if floors.iter().any(|(_, floor)| top1 < floor + CLEARLY) {
        return (VerdictState::Warning, format!("k-NN {top1:.1} %, not clearly above all of: {listed}; {trend}"));
    }
    (VerdictState::Healthy, format!("k-NN {top1:.1} % ({listed}), {trend}"))
}

/// Where the k-NN curve is going at its end.
fn trend(numbers: &Numbers) -> &'static str {
    let [earlier @ .., last] = numbers.knn.as_slice() else { return "measured once" };
    let best = earlier.iter().map(|point| point.top1).fold(f64::NEG_INFINITY, f64::max);
    match last.top1 - best {
        rise if rise >= CLEARLY => "still rising",
        rise if rise > -CLEARLY => "level at the end",
        _ => "below its best",
    }
}

/// A word about a loss that rose at first, where nothing else was wrong with the run.
pub(super) fn early_rise(trained: &Trained<'_>, numbers: &Numbers, state: VerdictState) -> Option<String> {
    let has_teacher = !trained.folder.config.method.name.learns_from_labels();
    if state == VerdictState::Failed || !trained.findings.is_empty() || !has_teacher {
        return None;
    }
    let losses: Vec<f64> = numbers.steps.iter().map(|step| step.loss).collect();
    let EarlyRise { first, peak, row, last } = super::early_rise(&losses)?;
    Some(format!(
        "The loss rose from {first:.2} to {peak:.2} by epoch {:.1} and then fell to {last:.2}: normal, since the teacher, and \
         with it what is asked of the student, changes while both learn.",
        numbers.steps[row].epoch
    ))
}

/// How to open the network in Python: for every ViT timm's class with the sizes spelled out.
///
/// # Errors
/// If the model's name is unknown.
pub(super) fn python(trained: &Trained<'_>) -> Result<String, RunError> {
    let backbone = backbone_config(&trained.folder.config)?;
    let run = trained.folder.path.display();
    let Normalize { mean, std } = backbone.normalize();
    let (channels, dim) = (mean.len(), backbone.dim());
    let kind = if channels == RGB { "RGB".to_owned() } else { format!("{channels} channels") };
    let range = &trained.folder.config.data.range;
    let values = if range.is_empty() { kind } else { format!("{kind}, {range:?} stretched to lie") };
    let (open, features) = match &backbone {
        BackboneConfig::Vit(vit) => (of_vit(vit, &run.to_string()), "model(images)"),
        // Neither timm nor torchvision has it.
        BackboneConfig::ResNet(resnet) if resnet.width > 1 => (
            format!(
                "# once, in a shell: dinoxide export {run} --to hf -o {run}/hf\n\
                 from transformers import AutoModel\n\
                 \n\
                 model = AutoModel.from_pretrained(\"{run}/hf\")\n"
            ),
            "model(images).pooler_output.flatten(1)",
        ),
        BackboneConfig::ResNet(_) | BackboneConfig::Xcit(_) => (
            format!(
                "# once, in a shell: dinoxide export {run} --to timm -o {run}/timm\n\
                 import timm\n\
                 \n\
                 model = timm.create_model(\"local-dir:{run}/timm\", pretrained=True)\n"
            ),
            "model(images)",
        ),
    };
    let side = backbone.vit().map_or(trained.folder.config.views.global.size as usize, |vit| vit.image_size);
    Ok(format!(
        "{open}model.eval()\n\
         # images: {values} in 0..1, [N, {channels}, {side}, {side}], minus {mean:?}, divided by {std:?}\n\
         # features = {features}   # [N, {dim}]"
    ))
}

/// timm's class with the sizes spelled out, and the weights in it.
fn of_vit(vit: &VitConfig, run: &str) -> String {
    let weights = format!("{run}/backbone.safetensors");
    format!(
        "# once, in a shell: dinoxide export {run} -o {weights}\n\
         from safetensors.torch import load_file\n\
         from timm.models.vision_transformer import VisionTransformer\n\
         \n\
         model = VisionTransformer(img_size={}, patch_size={}, in_chans={}, embed_dim={}, depth={},\n\
         \x20                         num_heads={}, mlp_ratio={}, num_classes=0, global_pool=\"token\")\n\
         model.load_state_dict(load_file({weights:?}))\n",
        vit.image_size,
        vit.patch_size,
        vit.normalize.mean.len(),
        vit.embed_dim,
        vit.depth,
        vit.num_heads,
        vit.mlp_ratio
    )
}

/// What to try next.
pub(super) fn next_steps(trained: &Trained<'_>, numbers: &Numbers) -> Vec<String> {
    let (config, run) = (&trained.folder.config, trained.folder.path.display());
    let mut steps = Vec::new();
    match trained.end {
        End::Stopped => steps.push(format!("Go on where it stopped: {}", trained.folder.resume_command())),
        End::Finished if !numbers.knn.is_empty() && trend(numbers) == "still rising" => steps.push(format!(
            "The k-NN curve still rises: train longer in a new run, for example with --epochs {}.",
            2 * config.run.epochs
        )),
        End::Finished => {}
    }
    if config.data.val.is_none() {
        steps.push(
            "See whether features get better while training: --val DIR with a labelled folder, one sub-folder per class."
                .to_owned(),
        );
    }
    steps.push(format!("Features of your images: dinoxide embed {run} IMAGES -o features.npz"));
    steps.push(match config.model.shape() {
        Some(_) => format!("Where it looks in an image: dinoxide attention {run} IMAGES"),
        None => format!("What is alike to it: dinoxide pca {run} IMAGES"),
    });
    steps.push(format!("Weights for other programs: dinoxide export {run} -o backbone.safetensors"));
    steps
}
