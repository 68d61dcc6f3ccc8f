//! `dinoxide bench`: how fast this machine could be, and how fast the program is on it.
//!
//! | file | measures |
//! |---|---|
//! | `mod.rs` | what every measurement shares, the machine's own ceilings among it |
//! | `work.rs` | counts operations |
//! | `step.rs` | whole training steps and their phases |
//! | `infer.rs` | features of images that lie in memory |
//! | `optim.rs` | clipping, AdamW and the teacher's average |
//! | `knn.rs` | exact nearest neighbours |
//! | `linear.rs` | an epoch of the linear probe |
//! | `views.rs` | views of image files |
//!
//! Everything but the last runs on random data made before the clock starts. Times are medians; a ceiling is the best of several tries.

use std::time::Instant;

use dinoxide_engine::cpu::Cpu;
use dinoxide_engine::kernels::Kernels as _;
use dinoxide_engine::values as engine;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize, Serializer};

use super::console::{Console, Figures, Verbosity};
use super::{RunError, device, machine};
use crate::config::{Config, ConfigError, ModelConfig, Origin, Precision};

pub mod infer;
pub mod knn;
pub mod linear;
pub mod optim;
pub mod step;
pub mod views;

/// Calls that are measured but not counted: the first ones fill the pool and the caches.
const WARM_UP: usize = 2;

/// What every measurement needs to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Terms {
    /// Threads; all cores without a number.
    pub threads: Option<usize>,
    /// Calls that count; two more come before.
    pub steps: usize,
}

/// Crops of one size, as in `2x224`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ViewSize {
    /// Crops of each image.
    pub count: u32,
    /// Side in pixels.
    pub side: u32,
}

impl std::str::FromStr for ViewSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let (count, side) = text.split_once('x')?;
            let (count, side) = (count.parse().ok()?, side.parse().ok()?);
            let sane = 1..=10_000; // Far beyond any use, and no product of two overflows.
            (sane.contains(&count) && sane.contains(&side)).then_some(Self { count, side })
        };
        parse().ok_or_else(|| "write the number and the side of the crops, as in 2x224".to_owned())
    }
}

impl std::fmt::Display for ViewSize {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}", self.count, self.side)
    }
}

impl Serialize for ViewSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Where something was measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The processor.
    pub cpu: String,
    /// Threads used.
    pub threads: usize,
    /// What products multiplied.
    pub precision: Precision,
}

impl Place {
    fn of(cpu: &Cpu) -> Self {
        let precision = match cpu.precision() {
            engine::Precision::F32 => Precision::F32,
            engine::Precision::Bf16 => Precision::Bf16,
        };
        Self { cpu: machine::cpu_model(), threads: rayon::current_num_threads(), precision }
    }
}

/// The most operations per second of the current threads, in 10⁹.
fn peak_gflops(cpu: &Cpu) -> f64 {
    cpu.peak_flops() / 1e9
}

/// The most bytes per second that the current threads read and write in memory, in 10⁹. Takes half a gigabyte itself, so
/// a measurement of memory comes before.
fn peak_gbytes(cpu: &Cpu) -> f64 {
    cpu.peak_memory_rate() / 1e9
}

/// Runs `measure` on its own pool of threads.
fn on_threads<T: Send>(
    terms: Terms,
    precision: Precision,
    measure: impl FnOnce(&Cpu) -> Result<T, RunError> + Send,
) -> Result<T, RunError> {
    let cpu = device::cpu(precision, &Console::new(Verbosity::Normal, Figures::Json));
    let threads = terms.threads.unwrap_or_else(machine::cores);
    device::threads(threads)?.install(|| measure(&cpu))
}

/// The configuration of a named model with everything else at its plain default.
fn config_of(model: &str) -> Result<Config, ConfigError> {
    let mut config = Config { model: ModelConfig::named(model, Origin::Flag("--model"))?, ..Config::default() };
    config.data.train = vec!["random bytes".to_owned()];
    Ok(config)
}

/// Refuses what this machine's memory cannot hold.
fn fits(flag: &'static str, count: usize, bytes_of_one: usize) -> Result<(), ConfigError> {
    let most = machine::memory_bytes() / bytes_of_one.max(1) as u64;
    if count as u64 <= most {
        return Ok(());
    }
    let allowed = format!("at most {most}, which fill this machine's memory");
    Err(ConfigError::BadValue {
        origin: Origin::Flag(flag),
        key: flag.trim_start_matches('-').to_owned(),
        value: count.to_string(),
        allowed,
    })
}

/// Random bytes, the same for the same seed.
fn bytes(len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; len];
    ChaCha8Rng::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes
}

/// Random values from −0.5 to 0.5, the same for the same seed.
fn values(len: usize, seed: u64) -> Vec<f32> {
    let bytes = bytes(2 * len, seed);
    let value = |pair: &[u8; 2]| f32::from(u16::from_le_bytes(*pair)) / f32::from(u16::MAX) - 0.5;
    bytes.as_chunks::<2>().0.iter().map(value).collect()
}

/// Seconds of each of `repeats` calls, after two calls that are not counted. `prepare` runs before each, unmeasured.
fn times<S>(
    repeats: usize,
    state: &mut S,
    prepare: impl Fn(&mut S),
    mut run: impl FnMut(&mut S) -> Result<(), RunError>,
) -> Result<Vec<f64>, RunError> {
    let mut times = Vec::new();
    for call in 0..repeats.saturating_add(WARM_UP) {
        prepare(state);
        let begun = Instant::now();
        run(state)?;
        if call >= WARM_UP {
            times.push(begun.elapsed().as_secs_f64());
        }
    }
    Ok(times)
}

/// The value in the middle; the mean of the two middle ones of an even number.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.len().saturating_sub(1) / 2, values.len() / 2);
    (values[low] + values[high]) / 2.0
}
