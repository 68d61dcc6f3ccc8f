//! DINO's loss. DINO (Caron et al. 2021), eq. 1–3; `main_dino.py:DINOLoss`.

use std::rc::Rc;

use dinoxide_engine::kernels::{SoftCrossEntropy, Targets};
use dinoxide_engine::tape::{Loss, Tape};
use dinoxide_engine::tensor::{Buffer, Matrix};

/// Teacher probabilities of one batch and how uncertain they are.
#[derive(Debug, Clone)]
pub struct DinoTargets {
    /// `[teacher views·B, K]`, rows sum to 1.
    pub probs: Rc<Buffer>,
    /// Mean entropy of the rows in nats, h(P_t).
    pub entropy: f64,
}

/// Number of views on both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ViewCount {
    /// Images of the batch, B.
    pub images: usize,
    /// Views the teacher sees: the global crops.
    pub teacher: usize,
    /// Views the student sees: global crops first, then local ones.
    pub student: usize,
}

/// Sharpened and centred teacher outputs, `softmax((logits − center)/temp)`. The centre is subtracted.
///
/// # Shapes
/// `logits` `[teacher views·B, K]`, `center` `[K]`.
pub fn targets(tape: &Tape<'_>, logits: &Matrix, center: &[f32], temp: f64) -> DinoTargets {
    let mut probs = tape.scratch(logits.values().len());
    let entropy = tape.kernels().targets(Targets { logits: logits.values(), center, temp }, &mut probs);
    DinoTargets { probs: Rc::new(probs), entropy }
}

/// The cross-entropy of every student view with every other view of the teacher, averaged over all pairs:
///
/// ```text
/// for i in teacher views:
///     for v in student views, v ≠ i:
///         loss += mean over images of −Σ_k targets[i, b, k] · log softmax(logits[v, b] / student_temp)[k]
/// loss /= number of pairs
/// ```
///
/// # Shapes
/// `logits` `[student views·B, K]`, view-major; targets as [`targets`] returns them.
pub fn dino_loss(
    tape: &mut Tape<'_>,
    logits: &Matrix,
    targets: &DinoTargets,
    views: ViewCount,
    student_temp: f64,
) -> Loss {
    let pairs = SoftCrossEntropy {
        logits: &[],
        targets: &[],
        temp: student_temp,
        images: views.images,
        teacher_views: views.teacher,
        student_views: views.student,
    };
    tape.soft_cross_entropy(logits, pairs, &targets.probs)
}
