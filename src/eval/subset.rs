//! Few labels: some images of every class, drawn by a seed.
//!
//! Every class gives its share, so that none is lost (SimCLR's lists of 1 % and 10 % of ImageNet are balanced too). A larger subset of
//! the same seed holds the smaller one.

use dinoxide_views::sampler::epoch_permutation;
use serde::Serialize;

use super::EvalError;
use super::classifier::ClassifierError;

/// How many of the labels are used.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Subset {
    /// All.
    All,
    /// This share of each class, rounded, and at least one image.
    Fraction(f64),
    /// So many images of each class, or all of a class that has fewer.
    PerClass(usize),
}

impl Subset {
    /// Whether other seeds give other images.
    pub fn is_drawn(self) -> bool {
        self != Self::All
    }

    /// In words.
    pub fn words(self) -> String {
        match self {
            Self::All => "all".to_owned(),
            Self::Fraction(fraction) => format!("{} %", 100.0 * fraction),
            Self::PerClass(images) => format!("{images} per class"),
        }
    }

    /// Whether something of every class is left.
    ///
    /// # Errors
    /// A fraction outside of (0, 1], no image of each class.
    pub fn check(self) -> Result<(), ClassifierError> {
        match self {
            Self::Fraction(fraction) if !(fraction > 0.0 && fraction <= 1.0) => {
                Err(ClassifierError::Fraction { fraction })
            }
            Self::PerClass(0) => {
                let (what, example) = ("the number of images per class", "1 or 10");
                Err(ClassifierError::NotPositive { what, value: 0.0, example })
            }
            _ => Ok(()),
        }
    }

    /// Places of the chosen images, ascending.
    ///
    /// # Errors
    /// A fraction outside of (0, 1], no image of each class.
    pub fn draw(self, labels: &[u32], seed: u64) -> Result<Vec<usize>, EvalError> {
        let of_class = |images: usize| match self {
            Self::All => images,
            // At least one: a class without an image could never be predicted.
            Self::Fraction(fraction) => ((images as f64 * fraction).round() as usize).max(1),
            Self::PerClass(most) => most.min(images),
        };
        self.check()?;
        let classes = labels.iter().max().map_or(0, |label| *label as usize + 1);
        let mut places = vec![Vec::new(); classes];
        labels.iter().enumerate().for_each(|(place, label)| places[*label as usize].push(place));
        let mut chosen = Vec::new();
        for (class, places) in places.iter().enumerate() {
            let order = epoch_permutation(seed, class as u64, places.len() as u32);
            chosen.extend(order.iter().take(of_class(places.len())).map(|place| places[*place as usize]));
        }
        chosen.sort_unstable();
        Ok(chosen)
    }
}
