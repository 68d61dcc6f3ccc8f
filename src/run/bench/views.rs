//! From image files to the bytes that the networks read: decoding and all views, stage by stage.

use std::ops::AddAssign;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use dinoxide_views::random::Key;
use dinoxide_views::source::SourceImage;
use dinoxide_views::{Reading, Renderer, Source, Times, ViewRecipe};
use serde::Serialize;
use serde::ser::SerializeMap as _;

use super::{Terms, ViewSize, WARM_UP, median};
use crate::config::{ConfigError, Origin};
use crate::eval::EvalError;
use crate::run::{RunError, device, machine};

/// What to measure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ViewsRequest {
    /// Folders, files, globs, lists, tables or archives.
    pub data: Vec<String>,
    /// Crops of an image: global ones, then local ones if there are any.
    pub views: Vec<ViewSize>,
    /// Images at most, evenly spread over the data.
    pub images: usize,
    /// Threads, passes over the images.
    pub terms: Terms,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ViewsReport {
    /// Images of the median pass, per second.
    pub images_per_second: f64,
    /// Milliseconds that one thread takes for an image.
    pub ms: f64,
    /// Where those milliseconds go, means over all passes.
    pub stages: StageTimes,
    /// Images of a pass.
    pub images: usize,
    /// Images of these that could not be read; they take part with what was tried.
    pub unreadable: usize,
    /// Mean size of an image in pixels.
    pub megapixels: f64,
    /// The processor.
    pub cpu: String,
    /// Threads used.
    pub threads: usize,
    /// What was asked for.
    pub request: ViewsRequest,
}

/// Milliseconds of each stage of an image.
#[derive(Debug, Clone, PartialEq)]
pub struct StageTimes(pub Vec<(&'static str, f64)>);

impl Serialize for StageTimes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        self.0.iter().try_for_each(|(name, ms)| map.serialize_entry(name, ms))?;
        map.end()
    }
}

/// What one thread did in all passes that count.
#[derive(Debug, Default)]
struct Done {
    times: Times,
    images: usize,
    unreadable: usize,
    pixels: u64,
}

impl AddAssign for Done {
    fn add_assign(&mut self, other: Self) {
        self.times += other.times;
        self.images += other.images;
        self.unreadable += other.unreadable;
        self.pixels += other.pixels;
    }
}

/// Measures the making of views with the official probabilities. Files are read once before the clock starts.
///
/// # Errors
/// If there are no images or none can be read, the sizes make no sense, or the threads cannot be started.
pub fn views(request: &ViewsRequest) -> Result<ViewsReport, RunError> {
    let recipe = recipe_of(&request.views)?;
    let source = Source::open(&request.data)?;
    let count = source.len().min(request.images);
    let images: Vec<_> = (0..count).map(|at| &source.images[at * source.len() / count]).collect();
    let threads = request.terms.threads.unwrap_or_else(machine::cores);
    let pool = device::threads(threads)?;
    let (mut seconds, mut total) = (Vec::new(), Done::default());
    for pass in 0..WARM_UP + request.terms.steps {
        let (next, begun) = (AtomicUsize::new(0), Instant::now());
        let done = pool.broadcast(|_| work(&images, &next, &recipe, pass as u64));
        if pass >= WARM_UP {
            seconds.push(begun.elapsed().as_secs_f64());
            done.into_iter().for_each(|done| total += done);
        }
    }
    if total.unreadable == total.images {
        return Err(EvalError::NoImages.into());
    }
    Ok(report(request, &total, count, median(seconds), threads))
}

/// One thread's work: images in turn, until none is left.
fn work(images: &[&SourceImage], next: &AtomicUsize, recipe: &ViewRecipe, epoch: u64) -> Done {
    let (mut renderer, mut groups, mut done) = (Renderer::default(), Vec::new(), Done::default());
    loop {
        let sample = next.fetch_add(1, Ordering::Relaxed);
        let Some(stored) = images.get(sample) else { break };
        done.images += 1;
        let Ok(image) = stored.decode_timed(&Reading::default(), &mut done.times) else {
            done.unreadable += 1;
            continue;
        };
        done.pixels += u64::from(image.width) * u64::from(image.height);
        let key = Key { seed: 0, epoch, sample: sample as u64 };
        renderer.render_groups(&image, recipe, &key, &mut groups);
    }
    done.times += renderer.times;
    done
}

fn report(request: &ViewsRequest, total: &Done, count: usize, seconds: f64, threads: usize) -> ViewsReport {
    let each = |time: Duration| time.as_secs_f64() * 1e3 / total.images.max(1) as f64;
    let stages = total.times.named().map(|(name, time)| (name, each(time))).to_vec();
    let decoded = (total.images - total.unreadable).max(1);
    ViewsReport {
        images_per_second: count as f64 / seconds,
        ms: seconds * 1e3 * threads as f64 / count as f64,
        stages: StageTimes(stages),
        images: count,
        unreadable: total.unreadable / request.terms.steps.max(1),
        megapixels: total.pixels as f64 / decoded as f64 / 1e6,
        cpu: machine::cpu_model(),
        threads,
        request: request.clone(),
    }
}

/// The official augmentation with other numbers and sizes of crops.
fn recipe_of(views: &[ViewSize]) -> Result<ViewRecipe, RunError> {
    let mut recipe = ViewRecipe::default();
    let (global, local) = match views {
        [global] => (*global, ViewSize { count: 0, side: recipe.local.size }),
        [global, local] => (*global, *local),
        _ => {
            let value = views.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
            let allowed = "one or two sizes: global crops, then local ones".to_owned();
            let (origin, key) = (Origin::Flag("--views"), "views".to_owned());
            return Err(ConfigError::BadValue { origin, key, value, allowed }.into());
        }
    };
    (recipe.global.count, recipe.global.size) = (global.count, global.side);
    (recipe.local.count, recipe.local.size) = (local.count, local.side);
    recipe.validate()?;
    Ok(recipe)
}
