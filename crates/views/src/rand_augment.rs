//! RandAugment: some operations drawn for each view, all of about one strength (Cubuk et al. 2020), in timm's variant of
//! "increasing" operations and random strength (`timm/data/auto_augment.py`).
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::operation::Operation;
use crate::random::Draws;

/// Strength that is full.
const FULL: f64 = 10.0;
/// Operations that a view may have.
pub const MOST_LAYERS: usize = 8;
/// How timm's notation begins.
const RAND: &str = "rand";

/// How many operations, and how strong. Written in timm's notation, such as `rand-m9-mstd0.5-inc1`; empty for none.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct RandAugment {
    /// Operations that are drawn for a view; 0 for none.
    pub layers: usize,
    /// Mean strength, 0 to 10.
    pub magnitude: f64,
    /// Standard deviation of the strength.
    pub std: f64,
    /// Chance that an operation that was drawn is applied.
    pub chance: f64,
}

/// The operations of one view, in order.
pub type Operations = [Option<Operation>; MOST_LAYERS];

impl RandAugment {
    /// Draws the operations of a view.
    pub fn draw(&self, draws: &mut Draws) -> Operations {
        let mut operations = [None; MOST_LAYERS];
        for operation in operations.iter_mut().take(self.layers) {
            let kind = draws.below(KINDS) as u32;
            if draws.chance(self.chance) {
                let magnitude = (self.magnitude + self.std * draws.normal()).clamp(0.0, FULL);
                *operation = Some(Operation::of_strength(kind, magnitude / FULL, draws));
            }
        }
        operations
    }
}

/// Kinds of operations.
const KINDS: u64 = 15;

impl Operation {
    /// Operation number `kind` of timm's list, with a strength of 0 to 1. What has two directions goes either way.
    pub fn of_strength(kind: u32, strength: f64, draws: &mut Draws) -> Self {
        let mut either_way = |value: f64| if draws.chance(0.5) { -value } else { value };
        match kind {
            0 => Self::AutoContrast,
            1 => Self::Equalize,
            2 => Self::Invert,
            3 => Self::Rotate(either_way(30.0 * strength)),
            // One bit where timm would keep none: Pillow refuses that.
            4 => Self::Posterize((4 - (4.0 * strength) as u8).max(1)),
            5 => Self::Solarize(256 - (256.0 * strength) as u16),
            6 => Self::SolarizeAdd((110.0 * strength) as u8),
            7 => Self::Color(enhanced(either_way(0.9 * strength))),
            8 => Self::Contrast(enhanced(either_way(0.9 * strength))),
            9 => Self::Brightness(enhanced(either_way(0.9 * strength))),
            10 => Self::Sharpness(enhanced(either_way(0.9 * strength))),
            11 => Self::ShearX(either_way(0.3 * strength)),
            12 => Self::ShearY(either_way(0.3 * strength)),
            13 => Self::TranslateX(either_way(0.45 * strength)),
            _ => Self::TranslateY(either_way(0.45 * strength)),
        }
    }
}

/// Away from the factor 1 that changes nothing.
fn enhanced(by: f64) -> f64 {
    (1.0 + by).max(0.1)
}

impl FromStr for RandAugment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let wrong = |why: &str| {
            format!("`{text}`: {why}; write it as timm does, such as \"rand-m9-mstd0.5-inc1\", or \"\" for none")
        };
        let mut parts = text.split('-');
        if parts.next() != Some(RAND) {
            return Err(wrong("it does not begin with `rand`"));
        }
        let (mut this, mut increasing) = (Self { layers: 2, magnitude: FULL, std: 0.0, chance: 0.5 }, false);
        for part in parts {
            let digits = part.find(|c: char| c.is_ascii_digit()).unwrap_or(part.len());
            let (key, number) = part.split_at(digits);
            let number: f64 = number.parse().map_err(|_| wrong(&format!("`{part}` has no number")))?;
            let within = |most: f64| {
                let fits = (0.0..=most).contains(&number);
                fits.then_some(number).ok_or_else(|| wrong(&format!("`{part}` is not from 0 to {most}")))
            };
            match key {
                "m" => this.magnitude = within(FULL)?,
                "n" => this.layers = within(MOST_LAYERS as f64)? as usize,
                "p" => this.chance = within(1.0)?,
                "mstd" => this.std = within(100.0)?,
                "inc" => increasing = within(1.0)? == 1.0,
                _ => return Err(wrong(&format!("`{part}` is not known here: m, n, p, mstd and inc are"))),
            }
        }
        if !increasing {
            return Err(wrong("`inc1` is missing: operations that get weaker with the magnitude are not here"));
        }
        Ok(this)
    }
}

impl fmt::Display for RandAugment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { layers, magnitude, std, chance } = self;
        if *layers == 0 {
            return Ok(());
        }
        write!(f, "{RAND}-m{magnitude}")?;
        if *layers != 2 {
            write!(f, "-n{layers}")?;
        }
        if *chance != 0.5 {
            write!(f, "-p{chance}")?;
        }
        if *std != 0.0 {
            write!(f, "-mstd{std}")?;
        }
        write!(f, "-inc1")
    }
}

impl From<RandAugment> for String {
    fn from(this: RandAugment) -> Self {
        this.to_string()
    }
}

impl TryFrom<String> for RandAugment {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}
