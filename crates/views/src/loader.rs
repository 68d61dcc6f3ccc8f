//! The training loader: worker threads decode each image once, render all its views, and batches arrive in order.
//!
//! What a batch holds depends on (seed, step, rank, world) only: not on the number of workers, not on where a run was
//! resumed, not on which thread was faster. Unreadable files are replaced, counted and reported.
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::error::{Error, Result, Skipped};
use crate::mix::{Label, Mix};
use crate::pool::{Pool, PoolConfig};
use crate::random::{Draws, Key, Purpose};
use crate::recipe::{CropRecipe, ViewRecipe};
use crate::render::Renderer;
use crate::sampler::{Draw, Sampler, epoch_permutation, steps_per_epoch, weighted_epoch};
use crate::samples::Reading;
use crate::shelf::{Found, Shelf, lock};
use crate::source::Source;
use crate::times::Times;

/// Unreadable files that an error lists.
const LISTED: usize = 3;

/// How batches are cut and by whom they are made.
#[derive(Debug, Clone, PartialEq)]
pub struct LoaderConfig {
    /// Images of a batch on this rank.
    pub batch: u32,
    /// Worker threads.
    pub workers: usize,
    /// Batches made ahead.
    pub prefetch: usize,
    /// Seed of the run.
    pub seed: u64,
    /// This process, from 0.
    pub rank: u32,
    /// Number of processes.
    pub world: u32,
    /// Global step of the first batch.
    pub start_step: u64,
    /// Steps of an epoch: [`steps_per_epoch`], or a multiple's worth when gradients are accumulated.
    pub steps_per_epoch: u64,
    /// The form of the images.
    pub reading: Reading,
    /// Largest fraction of distinct unreadable files; exactly this fraction is still accepted, so 0 accepts none.
    pub max_bad: f64,
    /// Bytes of decoded images kept in memory; 0 keeps none.
    pub cache_bytes: u64,
    /// Share of each input of the source in an epoch, in any unit; empty if every image counts the same.
    pub weights: Vec<f64>,
}

impl LoaderConfig {
    /// Returns the simplest configuration: one worker, one process, from the first step, no cache.
    pub fn new(images: usize, batch: u32) -> Self {
        Self {
            batch,
            workers: 1,
            prefetch: 2,
            seed: 0,
            rank: 0,
            world: 1,
            start_step: 0,
            steps_per_epoch: steps_per_epoch(images as u32, batch, 1),
            reading: Reading::default(),
            max_bad: 0.01,
            cache_bytes: 0,
            weights: Vec::new(),
        }
    }
}

/// Views of one size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewGroup {
    /// Side in pixels.
    pub size: u32,
    /// Views for each image.
    pub views: u32,
    /// [views, batch, size, size, channels]: all images of the first view, then all of the second.
    pub pixels: Vec<u8>,
}

/// The images of one step.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Global step.
    pub step: u64,
    /// Index in the source of every image, after replacements.
    pub samples: Vec<u32>,
    /// Global views, then local views if there are any.
    pub groups: Vec<ViewGroup>,
    /// What every global view shows, [views, batch]; empty if the source is not labelled.
    pub labels: Vec<Label>,
    /// Time that [`Loader::next_batch`] waited.
    pub wait: Duration,
}

/// A batch and the unreadable files that it met first.
type Delivery = Result<(Batch, Vec<Skipped>)>;

/// The views of one image, joined by group, [views, size, size, channels] each.
type Groups = Vec<Vec<u8>>;

/// One place in a batch.
type Item = Result<Found<Groups>>;

/// A running loader; dropping it stops its threads.
pub struct Loader {
    batches: Option<Receiver<Delivery>>,
    plan: Arc<Plan>,
    assembler: Option<JoinHandle<()>>,
    skipped: Vec<Skipped>,
}

impl Loader {
    /// Starts the workers.
    ///
    /// # Errors
    /// [`Error::Value`] if the recipe or the configuration makes no sense.
    pub fn new(source: Arc<Source>, recipe: ViewRecipe, config: LoaderConfig) -> Result<Self> {
        recipe.validate()?;
        check(&source, &config)?;
        let plan = Plan {
            sampler: Sampler {
                images: source.len() as u32,
                batch: config.batch,
                rank: config.rank,
                world: config.world,
                steps_per_epoch: config.steps_per_epoch,
            },
            inputs: source.inputs.clone(),
            weights: config.weights.clone(),
            labels: source.images.iter().map(|image| image.label).collect::<Option<_>>().unwrap_or_default(),
            shelf: Shelf::new(source, config.reading.clone(), config.cache_bytes),
            channels: config.reading.channels,
            recipe,
            seed: config.seed,
            order: Mutex::new(None),
            spare: Mutex::default(),
            rendering: Mutex::default(),
            stop: AtomicBool::new(false),
        };
        let plan = Arc::new(plan);
        let assembled = Arc::clone(&plan);
        let (sender, batches) = sync_channel(config.prefetch.saturating_sub(1));
        let assembler = std::thread::Builder::new()
            .name("views-batch".to_string())
            .spawn(move || assemble(&assembled, &config, &sender))
            .map_err(|_| Error::Stopped)?;
        Ok(Self { batches: Some(batches), plan, assembler: Some(assembler), skipped: Vec::new() })
    }

    /// Waits for the next batch. Batches never end: epochs follow each other.
    ///
    /// # Errors
    /// [`Error::TooManyBad`] or [`Error::NothingReadable`]; [`Error::Stopped`] after either.
    pub fn next_batch(&mut self) -> Result<Batch> {
        let start = Instant::now();
        let received = self.batches.as_ref().and_then(|batches| batches.recv().ok());
        let (mut batch, skipped) = received.unwrap_or(Err(Error::Stopped))?;
        batch.wait = start.elapsed();
        self.skipped.extend(skipped);
        Ok(batch)
    }

    /// Returns the time that the workers have spent so far, those of batches ahead included.
    pub fn times(&self) -> Times {
        let mut times = self.plan.shelf.times();
        times += *lock(&self.plan.rendering);
        times
    }

    /// Returns the unreadable files met by the batches handed out so far, each once, in order of appearance.
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        // Ends the batch in the making; without a receiver the next send fails, and the assembler stops the workers.
        self.plan.stop.store(true, Ordering::Relaxed);
        self.batches = None;
        if let Some(assembler) = self.assembler.take() {
            let _ = assembler.join();
        }
    }
}

fn check(source: &Source, config: &LoaderConfig) -> Result<()> {
    let bad = |key: &str, problem: String| Err(Error::Value { key: key.to_string(), problem });
    if source.is_empty() || source.len() > u32::MAX as usize {
        return bad("data", format!("{} images; 1 to {} are possible", source.len(), u32::MAX));
    }
    if config.batch == 0 || config.steps_per_epoch == 0 {
        return bad("batch", format!("{} images, {} steps; both at least 1", config.batch, config.steps_per_epoch));
    }
    if config.rank >= config.world {
        return bad("rank", format!("{} of {} processes; ranks count from 0", config.rank, config.world));
    }
    check_weights(&source.inputs, &config.weights)?;
    if !(0.0..=1.0).contains(&config.max_bad) {
        return bad("max_bad", format!("{}; a fraction between 0 and 1", config.max_bad));
    }
    Ok(())
}

fn check_weights(inputs: &[u32], weights: &[f64]) -> Result<()> {
    let bad = |problem: String| Err(Error::Value { key: "data.weights".to_string(), problem });
    if weights.is_empty() {
        return Ok(());
    }
    if weights.len() != inputs.len() {
        return bad(format!("{} numbers for {} inputs; one for each", weights.len(), inputs.len()));
    }
    let (sum, fits) = (weights.iter().sum::<f64>(), weights.iter().all(|weight| *weight >= 0.0));
    if !(fits && sum > 0.0 && sum.is_finite()) {
        return bad(format!("{weights:?}; numbers of at least 0, not all 0"));
    }
    match inputs.iter().zip(weights).position(|(&images, &weight)| images == 0 && weight > 0.0) {
        Some(input) => bad(format!("input {} has a share, but all its images belong to inputs before it", input + 1)),
        None => Ok(()),
    }
}

/// The order of an epoch.
enum Order {
    /// Every image once.
    Alike(Vec<u32>),
    /// Every input with its share.
    Weighted(Vec<Draw>),
}

impl Order {
    fn at(&self, position: usize) -> Draw {
        match self {
            Self::Alike(order) => Draw { sample: order[position], repetition: 0 },
            Self::Weighted(order) => order[position],
        }
    }

    /// Draws an image that takes the place of an unreadable one.
    fn stand_in(&self, draws: &mut Draws) -> u32 {
        match self {
            Self::Alike(order) => draws.below(order.len() as u64) as u32,
            Self::Weighted(order) => order[draws.below(order.len() as u64) as usize].sample,
        }
    }
}

/// What the workers share.
struct Plan {
    sampler: Sampler,
    shelf: Shelf,
    /// Values of a pixel.
    channels: usize,
    recipe: ViewRecipe,
    seed: u64,
    /// Images of each input, and its share of an epoch.
    inputs: Vec<u32>,
    weights: Vec<f64>,
    /// Class of each image; empty if the source is not labelled.
    labels: Vec<u32>,
    /// The order of the epoch used last.
    order: Mutex<Option<(u64, Arc<Order>)>>,
    /// Buffers of items that have become part of a batch, for the next ones.
    spare: Mutex<Vec<Groups>>,
    /// Time spent on views.
    rendering: Mutex<Times>,
    /// Set when the loader is dropped.
    stop: AtomicBool,
}

impl Plan {
    fn item(&self, renderer: &mut Renderer, step: u64, slot: u32) -> Item {
        let place = self.sampler.place(step, slot);
        let order = self.order(place.epoch);
        let Draw { sample, repetition } = order.at(place.position as usize);
        let sample = u64::from(repetition) << u32::BITS | u64::from(sample);
        let key = Key { seed: self.seed, epoch: place.key_epoch(), sample };
        let mut groups = lock(&self.spare).pop().unwrap_or_default();
        let found = self.shelf.find(
            &key,
            |draws| order.stand_in(draws),
            |image| {
                renderer.render_groups(image, &self.recipe, &key, &mut groups);
                std::mem::take(&mut groups)
            },
        );
        *lock(&self.rendering) += std::mem::take(&mut renderer.times);
        found
    }

    /// Says what the global views of a batch show, and mixes them if the recipe asks for it.
    fn label(&self, batch: &mut Batch) {
        let (Some(group), false) = (batch.groups.first_mut(), self.labels.is_empty()) else { return };
        let labels = batch.samples.iter().map(|sample| Label::one(self.labels[*sample as usize]));
        batch.labels = labels.collect::<Vec<_>>().repeat(group.views as usize);
        let key = Key { seed: self.seed, epoch: batch.step, sample: u64::from(self.sampler.rank) };
        let mix = Mix::draw(&mut key.draws(0, Purpose::Mix), [self.recipe.mixup, self.recipe.cutmix], group.size);
        if let Some(mix) = mix {
            mix.apply(&mut group.pixels, &mut batch.labels, group.size);
        }
    }

    fn order(&self, epoch: u64) -> Arc<Order> {
        let mut cached = lock(&self.order);
        match &*cached {
            Some((of, order)) if *of == epoch => Arc::clone(order),
            _ => {
                let order = Arc::new(if self.weights.is_empty() {
                    Order::Alike(epoch_permutation(self.seed, epoch, self.sampler.images))
                } else {
                    Order::Weighted(weighted_epoch(self.seed, epoch, &self.inputs, &self.weights))
                });
                *cached = Some((epoch, Arc::clone(&order)));
                order
            }
        }
    }
}

/// Runs the workers and joins their items to batches until the receiver is gone or an error was sent.
fn assemble(plan: &Arc<Plan>, config: &LoaderConfig, sender: &SyncSender<Delivery>) {
    let size = u64::from(config.batch);
    let pool = PoolConfig {
        threads: config.workers,
        // One batch is always in the making, and no worker idles when a batch is smaller than their number.
        ahead: size + config.workers as u64,
        first: config.start_step * size,
        end: u64::MAX,
    };
    let workers = Arc::clone(plan);
    let pool =
        Pool::start(&pool, move |renderer, number| workers.item(renderer, number / size, (number % size) as u32));
    let mut bad = BTreeSet::new();
    for step in config.start_step.. {
        let batch = next_batch(plan, &pool, step, &mut bad).and_then(|(batch, skipped)| {
            check_bad(plan, &bad, config.max_bad)?;
            Ok((batch, skipped))
        });
        let failed = batch.is_err();
        if sender.send(batch).is_err() || failed {
            return;
        }
    }
}

/// Collects one batch; `bad` gathers the distinct unreadable samples.
fn next_batch(plan: &Plan, pool: &Pool<Item>, step: u64, bad: &mut BTreeSet<u32>) -> Delivery {
    let size = plan.sampler.batch as usize;
    let recipes = plan.recipe.groups();
    let view_bytes = |crops: &CropRecipe| crops.values() * plan.channels;
    let empty = |crops: &CropRecipe| ViewGroup {
        size: crops.size,
        views: crops.count,
        pixels: vec![0; view_bytes(crops) * crops.count as usize * size],
    };
    let groups = recipes.iter().map(empty).collect();
    let mut batch = Batch { step, samples: Vec::with_capacity(size), groups, labels: Vec::new(), wait: Duration::ZERO };
    let mut skipped = Vec::new();
    for slot in 0..size {
        if plan.stop.load(Ordering::Relaxed) {
            return Err(Error::Stopped);
        }
        let found = pool.next().ok_or(Error::Stopped)??;
        batch.samples.push(found.sample);
        for (sample, reason) in found.unreadable {
            if bad.insert(sample) {
                skipped.push(Skipped { path: plan.shelf.path(sample), reason });
            }
        }
        for ((group, crops), views) in batch.groups.iter_mut().zip(&recipes).zip(&found.value) {
            // [views, size, size, channels] of one image → [views, batch, size, size, channels].
            let places = group.pixels.chunks_exact_mut(view_bytes(crops)).skip(slot).step_by(size);
            for (place, view) in places.zip(views.chunks_exact(view_bytes(crops))) {
                place.copy_from_slice(view);
            }
        }
        lock(&plan.spare).push(found.value);
    }
    plan.label(&mut batch);
    Ok((batch, skipped))
}

fn check_bad(plan: &Plan, bad: &BTreeSet<u32>, max_bad: f64) -> Result<()> {
    let images = plan.sampler.images as usize;
    if bad.len() as f64 <= max_bad * images as f64 {
        return Ok(());
    }
    let first: Vec<String> = bad.iter().take(LISTED).map(|&sample| plan.shelf.describe(sample)).collect();
    Err(Error::TooManyBad { bad: bad.len(), images, max_bad, first: first.join(", ") })
}
