//! The health of a run: what its figures say is going wrong, and what to do about it.
//!
//! The figures are those of the paper's collapse study (section 5.3, figure 7): the teacher's entropy h(P_t), KL(P_t‖P_s),
//! which with it makes up the loss, and the entropy of the batch's mean target.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::schedule::warmup_steps;

/// Share of ln K from which on the teacher's entropy means that it tells nothing apart.
const UNIFORM: f64 = 0.99;
/// Distance of the loss from ln K, as a share of it, at which it sits there.
const AT_LN_K: f64 = 0.005;
/// Share of the largest possible entropy of a batch's mean target below which few prototypes are in use.
const FEW_PROTOTYPES: f64 = 0.1;
/// Divergence below which the student has nothing left to learn, nats.
const NOTHING_LEFT: f64 = 1e-3;
/// Gradient norm below which nothing moves.
const NO_GRADIENT: f64 = 1e-6;
/// Steps for which a sign has to last, or this share of a short run.
const PATIENCE: (usize, f64) = (200, 0.2);

/// What is going wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// The teacher gives every prototype the same share.
    UniformCollapse,
    /// All images share a few prototypes.
    OnePrototypeCollapse,
    /// The student says what the teacher says, though the teacher says something.
    NothingLeft,
    /// No gradient.
    NotLearning,
}

impl Finding {
    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::UniformCollapse => "uniform collapse",
            Self::OnePrototypeCollapse => "one-prototype collapse",
            Self::NothingLeft => "nothing left to learn",
            Self::NotLearning => "not learning",
        }
    }

    /// What to do about it.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::UniformCollapse => {
                "lower `dino.teacher_temp` (0.02 to 0.04), warm it up longer, freeze the prototypes longer \
                 (`dino.freeze_last_layer_steps`), or lower `optim.lr`"
            }
            Self::OnePrototypeCollapse => {
                "set `dino.centering` to sinkhorn_knopp, or lower `dino.center_momentum`, or raise `dino.teacher_temp`"
            }
            Self::NothingLeft => {
                "use more or stronger crops (`views.local.count`, `views.color_jitter`), or a larger batch"
            }
            Self::NotLearning => {
                "look whether the images differ (`dinoxide check`), and whether `--init` weights or a very low \
                 `dino.student_temp` leave the softmax without a slope"
            }
        }
    }

    /// Whether going on is a waste of time.
    pub fn is_collapse(self) -> bool {
        matches!(self, Self::UniformCollapse | Self::OnePrototypeCollapse)
    }
}

/// The figures of a step, or their means over several.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pulse {
    /// Loss, nats.
    pub loss: f64,
    /// Mean entropy of the teacher's targets, h(P_t), nats.
    pub entropy: f64,
    /// KL(P_t‖P_s), nats.
    pub kl: f64,
    /// Entropy of the batch's mean target, nats.
    pub batch_entropy: f64,
    /// Norm of the gradient before clipping.
    pub grad_norm: f64,
}

/// What the largest values of the figures are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale {
    /// ln K: a teacher that tells nothing apart.
    ln_k: f64,
    /// Entropy of a batch in which every target is another prototype, at most ln K.
    widest: f64,
}

impl Scale {
    /// The scale of a configuration.
    pub fn of(config: &Config) -> Self {
        let ln_k = (config.head.out_dim as f64).ln();
        let targets = config.run.batch * config.views.global.count as usize;
        Self { ln_k, widest: ln_k.min((targets as f64).ln()) }
    }

    /// The signs that a step shows.
    pub fn signs(&self, pulse: &Pulse) -> Vec<Finding> {
        let uniform = pulse.entropy > UNIFORM * self.ln_k && (pulse.loss - self.ln_k).abs() < AT_LN_K * self.ln_k;
        let few = pulse.batch_entropy < FEW_PROTOTYPES * self.widest;
        let nothing = pulse.kl.abs() < NOTHING_LEFT && !uniform && !few;
        let still = pulse.grad_norm < NO_GRADIENT;
        let signs = [
            (Finding::UniformCollapse, uniform),
            (Finding::OnePrototypeCollapse, few),
            (Finding::NothingLeft, nothing),
            (Finding::NotLearning, still),
        ];
        signs.into_iter().filter(|(_, shown)| *shown).map(|(finding, _)| finding).collect()
    }

    /// A finding with the figures that show it and its remedy.
    pub fn words(&self, finding: Finding, pulse: &Pulse) -> String {
        let figures = match finding {
            Finding::UniformCollapse => {
                format!("entropy {:.2} and loss {:.2} of ln K = {:.2}", pulse.entropy, pulse.loss, self.ln_k)
            }
            Finding::OnePrototypeCollapse => {
                format!("entropy of the mean target {:.2} of {:.2}", pulse.batch_entropy, self.widest)
            }
            Finding::NothingLeft => format!("KL {:.4}", pulse.kl),
            Finding::NotLearning => format!("gradient norm {:.1e}", pulse.grad_norm),
        };
        format!("{} ({figures}): {}", finding.name(), finding.remedy())
    }
}

/// What a monitor remembers, also over an interruption.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// Step since which each sign has been there.
    since: BTreeMap<Finding, usize>,
    /// What has been told.
    told: BTreeSet<Finding>,
}

/// Watches the figures of a run.
#[derive(Debug, Clone)]
pub struct Monitor {
    scale: Scale,
    patience: usize,
    /// Step from which on signs count: the learning rate has to have risen, if the run is long enough for that.
    from: usize,
    memory: Memory,
}

impl Monitor {
    /// A monitor of a run that has told nothing yet.
    pub fn new(config: &Config, steps_per_epoch: usize) -> Self {
        let (steps, share) = PATIENCE;
        let total = config.run.epochs * steps_per_epoch;
        let patience = steps.min((share * total as f64) as usize).max(1);
        let warmup = warmup_steps(config.optim.warmup_epochs, steps_per_epoch);
        let from = warmup.min(total.saturating_sub(2 * patience));
        Self { scale: Scale::of(config), patience, from, memory: Memory::default() }
    }

    /// What has been told so far.
    pub fn told(&self) -> &BTreeSet<Finding> {
        &self.memory.told
    }

    /// What it remembers.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Goes on where an earlier process stopped.
    pub fn continue_from(&mut self, memory: Memory) {
        self.memory = memory;
    }

    /// Looks at a step; returns what has now lasted long enough, with its words.
    pub fn look(&mut self, step: usize, pulse: &Pulse) -> Vec<(Finding, String)> {
        let signs = if step < self.from { Vec::new() } else { self.scale.signs(pulse) };
        let Memory { since, told } = &mut self.memory;
        since.retain(|finding, _| signs.contains(finding));
        let mut found = Vec::new();
        for finding in signs {
            let since = *since.entry(finding).or_insert(step);
            if step - since >= self.patience && told.insert(finding) {
                found.push((finding, self.scale.words(finding, pulse)));
            }
        }
        found
    }
}
