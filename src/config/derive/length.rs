//! Derived from speed and number of steps: length, schedules, evaluation, checkpoints, log.

use super::network::{flops_per_evaluated, flops_per_image, images_per_second};
use super::{Draft, pair, short, small_data, step_up, supervised, tuned, whole};
use crate::config::{ConfigError, DinoObjective, HeadConfig};

/// More steps than any run has.
const MOST_STEPS: f64 = 1e9;

/// Length of the run: what its time allows, or what was asked for, or about an hour.
pub(in crate::config) fn epochs(draft: &mut Draft<'_>) -> Result<(), ConfigError> {
    let limit = draft.config.run.time_limit().filter(|_| !draft.given.has("run.steps"));
    if let (Some(limit), Some(speed)) = (limit, draft.facts.speed) {
        let evaluations = evaluations(draft) as f64 + tuned::FURTHER_EVALUATIONS;
        let limit = limit.as_secs_f64();
        let rest = limit - speed.spent - evaluations * speed.evaluation - tuned::FINISH_SECONDS;
        let steps = (rest.max(tuned::TRAINING_SHARE * limit) / speed.step.max(f64::MIN_POSITIVE)).clamp(1.0, MOST_STEPS)
            as usize;
        let time = draft.config.run.time.clone().unwrap_or_default();
        let reason = format!("what {time} allow at the measured {:.0} ms per step", 1e3 * speed.step);
        draft.adjust("run.steps", whole(steps), reason)?;
    }
    if let Some(steps) = draft.config.run.steps {
        let per_epoch = draft.steps_per_epoch();
        let epochs = steps.div_ceil(per_epoch);
        let shorter = epochs < draft.config.run.epochs;
        return match shorter || draft.config.run.time.is_some() || !draft.given.has("run.epochs") {
            true => draft.adjust("run.epochs", whole(epochs), format!("{steps} steps of {per_epoch} in an epoch")),
            false => Ok(()),
        };
    }
    let cores = draft.facts.cores.max(1);
    let speed = images_per_second(&draft.config, cores);
    let (fewest, most) = tuned::EPOCHS_RANGE;
    let seconds = limit.map_or(tuned::TARGET_SECONDS, |limit| limit.as_secs_f64());
    let epochs = (seconds * speed / draft.facts.images as f64) as usize;
    let epochs = if limit.is_some() { epochs.max(1) } else { epochs.clamp(fewest, most) };
    let minutes = (epochs * draft.facts.images) as f64 / speed / 60.0;
    let reason = format!("about {minutes:.0} minutes at an estimated {speed:.0} images per second on {cores} cores");
    match limit {
        Some(_) => draft.adjust("run.epochs", whole(epochs), reason),
        None => draft.choose("run.epochs", whole(epochs), reason),
    }
}

/// How often to evaluate: fewer times where that would take much of the time.
fn evaluations(draft: &Draft<'_>) -> usize {
    let (Some(limit), Some(speed)) = (draft.config.run.time_limit(), draft.facts.speed) else {
        return tuned::EVALUATIONS;
    };
    let affordable = tuned::EVALUATION_SHARE * limit.as_secs_f64() / speed.evaluation.max(f64::EPSILON);
    (affordable as usize).clamp(1, tuned::EVALUATIONS)
}

/// Everything that follows from the number of steps.
pub(in crate::config) fn schedules(draft: &mut Draft<'_>) -> Result<(), ConfigError> {
    if draft.config.method.name.has_dino_head() {
        teacher(draft)?;
        frozen_prototypes(draft, "dino.freeze_last_layer_steps")?;
    } else if draft.config.method.name.learns_from_labels() {
        supervised::schedules(draft)?;
    } else {
        let constant = "constant; DINO alone raises it";
        draft.choose("optim.weight_decay", pair(tuned::WEIGHT_DECAY, tuned::WEIGHT_DECAY), constant)?;
        frozen_prototypes(draft, "method.freeze_prototypes_steps")?;
        late_queue(draft)?;
    }
    let (steps, per_epoch) = (draft.total_steps(), draft.steps_per_epoch());
    let warmup_steps = ((steps as f64 * tuned::WARMUP_SHARE) as usize).min(tuned::WARMUP_STEPS);
    let warmup = short(warmup_steps as f64 / per_epoch as f64);
    draft.choose(
        "optim.warmup_epochs",
        warmup,
        format!("{warmup_steps} of {steps} steps, at most a tenth of the run"),
    )?;
    // Where the length of a run was found by its time, what a recipe says in epochs may be most of it.
    let length = steps as f64 / per_epoch as f64;
    let most = if draft.config.run.steps.is_some() { tuned::WARMUP_MOST * length } else { length };
    if draft.config.optim.warmup_epochs > most {
        let reason =
            format!("the warm-up asked for is longer than {most:.1} of {length:.1} epochs; a tenth of the run instead");
        draft.adjust("optim.warmup_epochs", short(length * tuned::WARMUP_SHARE), reason)?;
    }
    head_first(draft)?;
    let lr = step_up(&tuned::LR_BY_BATCH, draft.config.run.batch);
    draft.choose("optim.lr", lr, "short runs with small batches need more than the paper's 5e-4")
}

/// How long the prototypes do not learn, where there are some.
fn frozen_prototypes(draft: &mut Draft<'_>, key: &str) -> Result<(), ConfigError> {
    if !draft.config.uses(key)? {
        return Ok(());
    }
    let (steps, per_epoch) = (draft.total_steps(), draft.steps_per_epoch());
    let frozen = ((steps as f64 * tuned::FREEZE_SHARE) as usize).min(per_epoch);
    let reason = "one epoch, at most a twentieth of the run, so that the features settle first";
    if draft.config.freeze_prototypes_steps() as f64 > tuned::WARMUP_MOST * steps as f64 {
        draft.adjust(key, whole(frozen), reason)?;
    }
    draft.choose(key, whole(frozen), reason)
}

/// A queue that a run would never come to begins earlier.
fn late_queue(draft: &mut Draft<'_>) -> Result<(), ConfigError> {
    let (epochs, method) = (draft.config.run.epochs, &draft.config.method);
    let used = draft.config.uses("method.queue_from_epoch")? && method.queue.unwrap_or(0) > 0;
    if used && method.queue_from_epoch.unwrap_or(0) >= epochs {
        let reason = format!("the run has {epochs} epochs; a tenth of them without it");
        return draft.adjust("method.queue_from_epoch", whole(epochs / 10), reason);
    }
    Ok(())
}

/// Whether the head learns alone at first.
fn head_first(draft: &mut Draft<'_>) -> Result<(), ConfigError> {
    let (steps, per_epoch) = (draft.total_steps(), draft.steps_per_epoch());
    let (frozen, most) = (draft.config.optim.freeze_backbone_steps, (tuned::WARMUP_MOST * steps as f64) as usize);
    if frozen > most {
        let reason = format!("half of {steps} steps: with {frozen} the backbone would learn little or nothing");
        return draft.adjust("optim.freeze_backbone_steps", whole(most), reason);
    }
    // A single layer soon knows as much as the features tell.
    let single = draft.config.method.name.learns_from_labels();
    let Some(init) = draft.facts.init.as_ref().filter(|_| !single) else { return Ok(()) };
    // How a head is normalised does not show in its weights.
    let stored =
        init.head.clone().map(|head| HeadConfig { norm_last_layer: draft.config.head.norm_last_layer, ..head });
    if draft.config.method.name.has_dino_head() && stored.as_ref() == Some(&draft.config.head) {
        return Ok(());
    }
    let warmup = (draft.config.optim.warmup_epochs * per_epoch as f64) as usize;
    let reason = "half of the warm-up: a head that knows nothing would spoil what the weights know";
    draft.choose("optim.freeze_backbone_steps", whole(warmup / 2), reason)
}

/// Momentum and temperature of the teacher.
fn teacher(draft: &mut Draft<'_>) -> Result<(), ConfigError> {
    let (steps, images) = (draft.total_steps(), draft.facts.images);
    let (lowest, highest) = tuned::MOMENTUM_RANGE;
    let rate = short(tuned::TEACHER_WINDOWS / steps.max(1) as f64);
    // Rounded again: 1 - 0.0142 is 0.9858 to a reader, 0.9858000000000000… to the machine.
    let momentum = ((1.0 - rate).clamp(lowest, highest) * 1e6).round() / 1e6;
    let reason = format!("the teacher remembers about a twentieth of {steps} steps");
    draft.choose("dino.momentum", pair(momentum, 1.0), reason)?;
    let (centering, reason) = if draft.config.dino.loss == DinoObjective::Mse {
        ("centering", "there are no probabilities to balance")
    } else if small_data(draft.facts) {
        ("sinkhorn_knopp", "a running centre cannot follow so sharp a teacher on so small batches")
    } else {
        ("centering", "as in the paper")
    };
    draft.choose("dino.centering", centering, reason)?;
    let (start, end) = step_up(&tuned::TEACHER_TEMP_BY_IMAGES, images);
    let reason = if small_data(draft.facts) {
        "small data needs a teacher sharp enough to act on what an untrained network sees"
    } else {
        "large data bears a softer teacher"
    };
    draft.choose("dino.teacher_temp", pair(start, end), format!("{images} images: {reason}"))?;
    let epochs = draft.config.run.epochs;
    let [start, end] = draft.config.dino.teacher_temp;
    let warmup = if start == end { 0 } else { (epochs as f64 * tuned::TEACHER_TEMP_WARMUP_SHARE).round() as usize };
    draft.choose(
        "dino.teacher_temp_warmup_epochs",
        whole(warmup),
        if warmup == 0 { "the temperature is constant" } else { "a tenth of the run" },
    )?;
    if draft.config.dino.teacher_temp_warmup_epochs > epochs {
        let shorter = (epochs as f64 * tuned::TEACHER_TEMP_WARMUP_SHARE).round() as usize;
        let reason = format!("the warm-up asked for is longer than the {epochs} epochs");
        draft.adjust("dino.teacher_temp_warmup_epochs", whole(shorter), reason)?;
    }
    Ok(())
}

/// Evaluation, checkpoints, log.
pub(in crate::config) fn bookkeeping(draft: &mut Draft<'_>) -> Result<(), ConfigError> {
    let (epochs, per_epoch) = (draft.config.run.epochs, draft.steps_per_epoch());
    let every = (epochs / evaluations(draft)).max(1);
    let times = epochs / every;
    let reason = match draft.facts.val_classes {
        Some(classes) => format!("{times} times in the run ({classes} classes)"),
        None => format!("{times} times in the run, once --val names a labelled folder"),
    };
    draft.choose("eval.every_epochs", whole(every), reason)?;
    draft.choose("eval.knn_k", whole(tuned::KNN_K), "the k of the paper")?;
    let trained = draft.total_steps() as f64 * draft.config.run.batch as f64 * flops_per_image(&draft.config);
    let affordable = tuned::EVALUATION_SHARE / tuned::EVALUATIONS as f64 * trained / flops_per_evaluated(&draft.config);
    let (fewest, most) = tuned::EVALUATED_IMAGES;
    let images = short(affordable.clamp(fewest as f64, most as f64)) as usize;
    draft.choose("eval.most_images", whole(images), "an evaluation takes about a hundredth of the time")?;
    let (fewest, most) = tuned::CHECKPOINT_STEPS;
    let steps = per_epoch.clamp(fewest, most);
    draft.choose("run.checkpoint_every_steps", whole(steps), format!("at most {steps} steps of work are lost"))?;
    let rows = (per_epoch / tuned::ROWS_PER_EPOCH).clamp(1, tuned::ROW_STEPS);
    draft.choose("log.every_steps", whole(rows), "about ten rows per epoch")
}
