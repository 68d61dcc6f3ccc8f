//! Where the time of the workers goes, stage by stage.
use std::ops::{AddAssign, Sub};
use std::time::{Duration, Instant};

/// Time that each stage of the way from a file to its views took, added up over threads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Times {
    /// Bytes from the disk.
    pub read: Duration,
    /// Pixels from the bytes.
    pub decode: Duration,
    /// Crop, resize and mirror.
    pub crop_resize: Duration,
    /// Color jitter and gray.
    pub jitter: Duration,
    /// Blur.
    pub blur: Duration,
    /// Solarisation.
    pub solarize: Duration,
    /// Pixels in the network's order.
    pub store: Duration,
}

impl Times {
    /// Every stage's name and time, in order.
    pub fn named(&self) -> [(&'static str, Duration); 7] {
        [
            ("read", self.read),
            ("decode", self.decode),
            ("crop_resize", self.crop_resize),
            ("jitter", self.jitter),
            ("blur", self.blur),
            ("solarize", self.solarize),
            ("store", self.store),
        ]
    }

    /// Returns the time of all stages together.
    pub fn total(&self) -> Duration {
        self.named().iter().map(|(_, time)| *time).sum()
    }
}

impl Sub for Times {
    type Output = Self;

    /// The time since an earlier state.
    fn sub(self, earlier: Self) -> Self {
        Self {
            read: self.read.saturating_sub(earlier.read),
            decode: self.decode.saturating_sub(earlier.decode),
            crop_resize: self.crop_resize.saturating_sub(earlier.crop_resize),
            jitter: self.jitter.saturating_sub(earlier.jitter),
            blur: self.blur.saturating_sub(earlier.blur),
            solarize: self.solarize.saturating_sub(earlier.solarize),
            store: self.store.saturating_sub(earlier.store),
        }
    }
}

impl AddAssign for Times {
    fn add_assign(&mut self, other: Self) {
        self.read += other.read;
        self.decode += other.decode;
        self.crop_resize += other.crop_resize;
        self.jitter += other.jitter;
        self.blur += other.blur;
        self.solarize += other.solarize;
        self.store += other.store;
    }
}

/// Divides time among stages.
pub(crate) struct Clock(Instant);

impl Clock {
    /// Begins the first stage.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Ends a stage and begins the next one.
    pub fn add(&mut self, stage: &mut Duration) {
        let now = Instant::now();
        *stage += now - self.0;
        self.0 = now;
    }
}
