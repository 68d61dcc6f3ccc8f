//! Derived from the files and the machine: threads, memory, channels, and how values become numbers around zero.

use dinoxide_views::pixel::RGB;
use toml::Value;

use super::{Draft, pair, short, tuned, whole};
use crate::config::key::{IMAGENET, MEASURED};
use crate::config::{ConfigError, DataConfig, Precision};

/// What the processor multiplies fastest, if that was asked for.
pub(in crate::config) fn precision(draft: &mut Draft<'_>) -> Result<(), ConfigError> {
    match (draft.config.run.precision, draft.facts.bf16) {
        (Precision::Auto, true) => draft.adjust("run.precision", "bf16", "the processor has instructions for it"),
        (Precision::Auto, false) => draft.adjust("run.precision", "f32", "the processor has no instructions for bf16"),
        _ => Ok(()),
    }
}

/// Loader threads and cache.
pub(in crate::config) fn data(draft: &mut Draft<'_>) -> Result<(), ConfigError> {
    let cores = draft.facts.cores.max(1);
    let workers = cores.saturating_sub(1).max(1);
    draft.choose("data.workers", whole(workers), format!("one thread fewer than the {cores} cores of this machine"))?;
    draft.choose("run.threads", whole(cores), format!("all {cores} cores compute"))?;
    let cache = (draft.facts.memory_bytes as f64 * tuned::CACHE_SHARE / f64::from(1 << 20)) as usize;
    draft.choose("data.cache_mb", whole(cache.max(1)), "a quarter of the memory holds decoded images")?;
    let (images, few) = (draft.facts.images, tuned::UNREADABLE_IMAGES);
    let share = few as f64 / images.max(1) as f64;
    if share <= draft.config.data.max_bad {
        return Ok(());
    }
    let share = short(share.min(tuned::UNREADABLE_SHARE));
    draft.choose("data.max_bad", share, format!("{few} unreadable files do not stop a run on {images} images"))
}

/// Channels of the images, and how their values become numbers around zero.
pub(in crate::config) fn pixels(draft: &mut Draft<'_>) -> Result<(), ConfigError> {
    let Some(pixels) = draft.facts.pixels.clone() else { return Ok(()) };
    if pixels.images == 0 {
        return Err(ConfigError::BadValue {
            origin: draft.given.origin("data.channels"),
            key: "data.channels".to_owned(),
            value: pixels.channels.to_string(),
            allowed: format!("{}, as most images have", pixels.usual),
        });
    }
    if pixels.channels != RGB {
        draft.choose("data.channels", whole(pixels.channels), "what the images hold")?;
    }
    if !pixels.range.is_empty() {
        let range = pixels.range.iter().map(|[low, high]| pair(f64::from(*low), f64::from(*high))).collect();
        let reason = format!("more than 8 bits: 99.8 % of the values of {} images become 0 to 255", pixels.images);
        draft.choose("data.range", Value::Array(range), reason)?;
    }
    let usual = DataConfig::default();
    let init = draft.facts.init.as_ref().filter(|init| init.mean.len() == draft.config.data.channels);
    for (key, measured, usual, of_weights) in [
        ("data.mean", &pixels.mean, usual.mean, init.map(|init| &init.mean)),
        ("data.std", &pixels.std, usual.std, init.map(|init| &init.std)),
    ] {
        let rounded = |values: &[f32]| values.iter().map(|value| short(f64::from(*value))).collect();
        let (values, reason): (Vec<f64>, _) = match (draft.given.text(key), of_weights) {
            (Some(IMAGENET), _) => (rounded(&usual), "as asked, for weights trained with them".to_owned()),
            (Some(MEASURED), _) => (rounded(measured), format!("as asked, measured on {} images", pixels.images)),
            _ if draft.given.has(key) => continue,
            (_, Some(values)) if *values != usual => {
                (values.iter().copied().map(number).collect(), "what the weights expect".to_owned())
            }
            _ if draft.config.data.channels == RGB => continue,
            _ => (rounded(measured), format!("measured on {} images", pixels.images)),
        };
        draft.adjust(key, Value::Array(values.into_iter().map(Value::Float).collect()), reason)?;
    }
    Ok(())
}

/// Changes of color that make no sense are left out, even where they were asked for.
pub(in crate::config) fn colors(draft: &mut Draft<'_>) -> Result<(), ConfigError> {
    let channels = draft.config.data.channels;
    if channels == RGB {
        return Ok(());
    }
    let views = &draft.config.views;
    let jitter = views.color_jitter;
    let used = [
        ("views.color_jitter.saturation", jitter.saturation),
        ("views.color_jitter.hue", jitter.hue),
        ("views.gray", views.gray),
    ];
    for (key, _) in used.into_iter().filter(|(_, amount)| *amount > 0.0) {
        draft.adjust(key, 0.0, format!("left out: {channels} channels are not red, green and blue"))?;
    }
    Ok(())
}

/// The number that a person would write for an f32: 0.4914, and not 0.4913999974727….
fn number(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}
