//! From image files to the bytes that the networks read: decoding and all views, stage by stage.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use dinoxide_views::random::Key;
use dinoxide_views::source::SourceImage;
use dinoxide_views::{Exif, Renderer, Source, Times, ViewRecipe, decode_bytes};
use serde::Serialize;
use serde::ser::SerializeMap as _;

use super::{Terms, ViewSize, WARM_UP, median};
use crate::config::{ConfigError, Origin};
use crate::eval::EvalError;
use crate::run::{RunError, machine};

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
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    let pool = pool.map_err(|source| RunError::Threads { source })?;
    let (mut seconds, total) = (Vec::new(), Mutex::new(Done::default()));
    for pass in 0..WARM_UP + request.terms.steps {
        let (next, begun) = (AtomicUsize::new(0), Instant::now());
        pool.broadcast(|_| {
            let mut work = Work { renderer: Renderer::default(), groups: Vec::new(), done: Done::default() };
            loop {
                let sample = next.fetch_add(1, Ordering::Relaxed);
                let Some(image) = images.get(sample) else { break };
                work.image(image, &recipe, &Key { seed: 0, epoch: pass as u64, sample: sample as u64 });
            }
            if pass >= WARM_UP {
                work.add_to(&total);
            }
        });
        if pass >= WARM_UP {
            seconds.push(begun.elapsed().as_secs_f64());
        }
    }
    let total = total.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    if total.unreadable == total.images {
        return Err(EvalError::NoImages.into());
    }
    Ok(report(request, &total, count, median(seconds), threads))
}

/// One thread's work.
struct Work {
    renderer: Renderer,
    groups: Vec<Vec<u8>>,
    done: Done,
}

impl Work {
    fn image(&mut self, stored: &SourceImage, recipe: &ViewRecipe, key: &Key) {
        let begun = Instant::now();
        let bytes = stored.read();
        let read = Instant::now();
        let image = bytes.and_then(|bytes| decode_bytes(&bytes, Exif::Ignore));
        self.done.times.read += read - begun;
        self.done.times.decode += read.elapsed();
        self.done.images += 1;
        let Ok(image) = image else {
            self.done.unreadable += 1;
            return;
        };
        self.done.pixels += u64::from(image.width) * u64::from(image.height);
        self.renderer.render_groups(&image, recipe, key, &mut self.groups);
    }

    fn add_to(self, total: &Mutex<Done>) {
        let mut total = total.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let Done { times, images, unreadable, pixels } = self.done;
        total.times += times;
        total.times += self.renderer.times;
        total.images += images;
        total.unreadable += unreadable;
        total.pixels += pixels;
    }
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
