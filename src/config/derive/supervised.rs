//! Derived for the supervised method: DeiT's augmentation and optimizer (Touvron et al. 2021, table 9), milder where data are few.

use toml::Value;

use super::{Draft, pair, small_data, tuned, whole};
use crate::config::ConfigError;

/// One view of each image, and what is done with it.
pub(super) fn views(draft: &mut Draft<'_>) -> Result<(), ConfigError> {
    let deit = "DeiT's recipe";
    draft.choose("views.global.count", whole(1), "one view of an image; DeiT's repeated augmentation has 3")?;
    draft.no_local_crops("a classifier sees whole images")?;
    if small_data(draft.facts) {
        let (low, high) = tuned::SUPERVISED_SCALE;
        let reason = "small data: a crop that shows the object, where DeiT begins at 0.08";
        draft.choose("views.global.scale", pair(low, high), reason)?;
    } else {
        draft.choose("views.global.scale", pair(0.08, 1.0), deit)?;
    }
    let none = || Value::Array(vec![Value::Float(0.0); 3]);
    let instead = "RandAugment has its own changes of colours";
    draft.choose("views.color_jitter.p", 0.0, instead)?;
    draft.choose("views.gray", 0.0, instead)?;
    draft.choose("views.blur", none(), deit)?;
    draft.choose("views.solarize", none(), instead)?;
    draft.choose("views.rand_augment", "rand-m9-mstd0.5-inc1", deit)?;
    draft.choose("views.erase", 0.25, deit)?;
    draft.choose("views.mixup", 0.8, deit)?;
    draft.choose("views.cutmix", 1.0, deit)
}

/// Learning rate, decay and clipping.
pub(super) fn schedules(draft: &mut Draft<'_>) -> Result<(), ConfigError> {
    draft.choose("optim.weight_decay", pair(tuned::WEIGHT_DECAY, tuned::WEIGHT_DECAY), "constant, as DeiT's")?;
    draft.choose("optim.clip", 0.0, "DeiT does not clip")?;
    let reason = "short runs with small batches need more than DeiT's 2.5e-4";
    draft.choose("optim.lr", tuned::SUPERVISED_LR, reason)
}
