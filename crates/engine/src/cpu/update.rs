//! The optimizers' updates: one pass over memory in fixed chunks, at the speed of memory.

use pulp::Arch;
use rayon::prelude::*;

use super::chunk::{CHUNK_LEN, check_len};
use super::math::{dot, vectorised};
use crate::kernels::{AdamW, Sgd, Update};

/// See [`crate::kernels::Kernels::adamw`].
pub fn adamw(arch: Arch, update: Update<'_, f32>, with: AdamW) {
    check_update(&update);
    check_len("second", update.second.len(), update.value.len());
    let step = with.step as f64;
    let decay = (1.0 - with.lr * with.weight_decay) as f32;
    let rate = (with.lr / (1.0 - with.beta1.powf(step))) as f32;
    let inverse_root = (1.0 / (1.0 - with.beta2.powf(step)).sqrt()) as f32;
    let (beta1, beta2) = (with.beta1 as f32, with.beta2 as f32);
    let (rest1, rest2) = ((1.0 - with.beta1) as f32, (1.0 - with.beta2) as f32);
    let (eps, grad_scale) = (with.eps as f32, with.grad_scale as f32);
    let Update { value, grad, first, second, teacher } = update;
    let tasks = value.par_chunks_mut(CHUNK_LEN).zip(grad.par_chunks_mut(CHUNK_LEN));
    let tasks = tasks.zip(first.par_chunks_mut(CHUNK_LEN)).zip(second.par_chunks_mut(CHUNK_LEN));
    tasks.zip(teacher_chunks(teacher)).for_each(|((((value, grad), first), second), mut teacher)| {
        vectorised(
            arch,
            #[inline(always)]
            || {
                let values = value.iter_mut().zip(grad.iter_mut()).zip(first.iter_mut()).zip(second.iter_mut());
                for (((value, grad), first), second) in values {
                    let g = *grad * grad_scale;
                    *grad = 0.0;
                    let m = beta1.mul_add(*first, rest1 * g);
                    let v = beta2.mul_add(*second, rest2 * g * g);
                    (*first, *second) = (m, v);
                    let denominator = v.sqrt().mul_add(inverse_root, eps);
                    *value = value.mul_add(decay, -(rate * m / denominator));
                }
                average_chunk(value, teacher.take());
            },
        );
    });
}

/// See [`crate::kernels::Kernels::sgd`].
pub fn sgd(arch: Arch, update: Update<'_, f32>, with: Sgd) {
    check_update(&update);
    let (lr, weight_decay, momentum) = (with.lr as f32, with.weight_decay as f32, with.momentum as f32);
    let (trust, grad_scale) = (with.trust as f32, with.grad_scale as f32);
    let Update { value, grad, first, teacher, .. } = update;
    let tasks = value.par_chunks_mut(CHUNK_LEN).zip(grad.par_chunks_mut(CHUNK_LEN));
    let tasks = tasks.zip(first.par_chunks_mut(CHUNK_LEN)).zip(teacher_chunks(teacher));
    tasks.for_each(|(((value, grad), first), mut teacher)| {
        vectorised(
            arch,
            #[inline(always)]
            || {
                for ((value, grad), first) in value.iter_mut().zip(grad.iter_mut()).zip(first.iter_mut()) {
                    let g = trust * weight_decay.mul_add(*value, grad_scale * *grad);
                    *grad = 0.0;
                    *first = momentum.mul_add(*first, g);
                    *value = (-lr).mul_add(*first, *value);
                }
                average_chunk(value, teacher.take());
            },
        );
    });
}

/// See [`crate::kernels::Kernels::average`].
pub fn average(arch: Arch, student: &[f32], momentum: f64, teacher: &mut [f32]) {
    check_len("student", student.len(), teacher.len());
    let chunks = teacher.par_chunks_mut(CHUNK_LEN).zip(student.par_chunks(CHUNK_LEN));
    chunks.for_each(|(teacher, student)| {
        vectorised(
            arch,
            #[inline(always)]
            || average_chunk(student, Some((teacher, momentum))),
        )
    });
}

/// See [`crate::kernels::Kernels::dot`].
pub fn inner_product(arch: Arch, x: &[f32], y: &[f32]) -> f64 {
    check_len("y", y.len(), x.len());
    let chunks = x.par_chunks(CHUNK_LEN).zip(y.par_chunks(CHUNK_LEN));
    let sums: Vec<f64> = chunks
        .map(|(x, y)| {
            vectorised(
                arch,
                #[inline(always)]
                || chunk_product(x, y),
            )
        })
        .collect();
    sums.iter().sum()
}

/// Σ x·y of a chunk: `f32` within short blocks, `f64` across them.
#[inline(always)]
fn chunk_product(x: &[f32], y: &[f32]) -> f64 {
    let mut total = 0.0;
    for (x, y) in x.chunks(1024).zip(y.chunks(1024)) {
        total += f64::from(dot(x, y));
    }
    total
}

/// The teacher's average over a chunk that is still in cache.
#[inline(always)]
fn average_chunk(student: &[f32], teacher: Option<(&mut [f32], f64)>) {
    let Some((teacher, momentum)) = teacher else { return };
    let (keep, take) = (momentum as f32, (1.0 - momentum) as f32);
    for (teacher, &student) in teacher.iter_mut().zip(student) {
        *teacher = keep.mul_add(*teacher, take * student);
    }
}

/// The teacher's chunks, or endlessly many absences.
fn teacher_chunks(
    teacher: Option<(&mut [f32], f64)>,
) -> impl IndexedParallelIterator<Item = Option<(&mut [f32], f64)>> {
    let (values, momentum) = teacher.map_or((None, 0.0), |(values, momentum)| (Some(values), momentum));
    let absences = if values.is_some() { 0 } else { usize::MAX >> 1 };
    let chunks = values.unwrap_or_default().par_chunks_mut(CHUNK_LEN);
    chunks.map(move |chunk| Some((chunk, momentum))).chain(rayon::iter::repeat_n((), absences).map(|()| None))
}

fn check_update(update: &Update<'_, f32>) {
    let len = update.value.len();
    check_len("grad", update.grad.len(), len);
    check_len("first", update.first.len(), len);
    if let Some((teacher, _)) = &update.teacher {
        check_len("teacher", teacher.len(), len);
    }
}
