//! The shelf: decoded images of a source by number, kept in memory while there is room, with stand-ins for bad ones.
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::error::{DecodeError, Error, Result, guard};
use crate::pixel::Image;
use crate::random::{Draws, Key, Purpose};
use crate::samples::Reading;
use crate::source::Source;
use crate::times::Times;

/// Files that are tried for one place in a batch.
const ATTEMPTS: u32 = 64;

/// Decoded images by number.
pub(crate) struct Shelf {
    source: Arc<Source>,
    reading: Reading,
    /// Images kept, one cell for each sample; empty if nothing is kept.
    kept: Vec<OnceLock<Arc<Image>>>,
    /// Bytes that may still be kept.
    room: AtomicU64,
    /// Unreadable samples and why, so that none is decoded twice.
    bad: Mutex<BTreeMap<u32, String>>,
    /// Time spent on files.
    times: Mutex<Times>,
}

/// What was made of a readable image, and what was tried before it.
pub(crate) struct Found<T> {
    pub sample: u32,
    pub value: T,
    /// Samples that were unreadable, with reasons.
    pub unreadable: Vec<(u32, String)>,
}

impl Shelf {
    pub fn new(source: Arc<Source>, reading: Reading, bytes: u64) -> Self {
        let cells = if bytes == 0 { 0 } else { source.len() };
        let kept = std::iter::repeat_with(OnceLock::new).take(cells).collect();
        Self { source, reading, kept, room: AtomicU64::new(bytes), bad: Mutex::default(), times: Mutex::default() }
    }

    /// Applies `render` to the sample of the key or, if it is unreadable, to others that `stand_in` draws.
    pub fn find<T>(
        &self,
        key: &Key,
        stand_in: impl Fn(&mut Draws) -> u32,
        mut render: impl FnMut(&Image) -> T,
    ) -> Result<Found<T>> {
        let mut unreadable = Vec::new();
        let mut sample = key.sample as u32;
        for attempt in 0..ATTEMPTS {
            match self.try_sample(sample, &mut render) {
                Ok(value) => return Ok(Found { sample, value, unreadable }),
                Err(reason) => unreadable.push((sample, reason)),
            }
            sample = stand_in(&mut key.draws(attempt, Purpose::Replacement));
        }
        let last = unreadable.last().map(|&(sample, _)| self.describe(sample));
        Err(Error::NothingReadable { attempts: ATTEMPTS, last: last.unwrap_or_default() })
    }

    /// Returns the time spent on reading and decoding so far.
    pub fn times(&self) -> Times {
        *lock(&self.times)
    }

    pub fn path(&self, sample: u32) -> PathBuf {
        self.source.images[sample as usize].path()
    }

    /// Returns the path of a sample and why it is unreadable.
    pub fn describe(&self, sample: u32) -> String {
        let bad = lock(&self.bad);
        let reason = bad.get(&sample).map_or("", String::as_str);
        format!("{} ({reason})", self.path(sample).display())
    }

    fn try_sample<T>(&self, sample: u32, render: &mut impl FnMut(&Image) -> T) -> std::result::Result<T, String> {
        if let Some(reason) = lock(&self.bad).get(&sample) {
            return Err(reason.clone());
        }
        guard(|| Ok(render(&*self.image(sample)?))).map_err(|error| {
            let reason = error.to_string();
            lock(&self.bad).insert(sample, reason.clone());
            reason
        })
    }

    fn image(&self, sample: u32) -> std::result::Result<Arc<Image>, DecodeError> {
        let cell = self.kept.get(sample as usize);
        if let Some(image) = cell.and_then(OnceLock::get) {
            return Ok(Arc::clone(image));
        }
        let mut times = Times::default();
        let image = self.source.images[sample as usize].decode_timed(&self.reading, &mut times);
        *lock(&self.times) += times;
        let image = Arc::new(image?);
        if let Some(cell) = cell {
            let size = image.pixels.len() as u64;
            let take = |room: u64| room.checked_sub(size);
            if self.room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
                // Two workers may decode the same image at once; the second copy is simply not kept.
                let _ = cell.set(Arc::clone(&image));
            }
        }
        Ok(image)
    }
}

/// Locks what a panic elsewhere cannot have left half-written.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
