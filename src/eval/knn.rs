//! Weighted k-NN on frozen features: DINO (Caron et al. 2021), section 4.1 / `eval_knn.py:knn_classifier`.
//!
//! For a query q and its k nearest training features x_i by cosine, class c scores Σ_{i: y_i = c} exp(q·x_i / 0.07).
//! The score is not normalised: a common factor changes no ranking.
//!
//! Differences from the program: any number of classes and queries works (it fixes 1000 classes and needs at least 100
//! queries), `k` is clipped to the training set, and ties have an order. Of equally near training images the one with
//! the lower index comes first; of classes with equal votes, none included, the one with the lower label.

use std::time::Instant;

use dinoxide_engine::cpu::Cpu;

use super::EvalError;
use super::nearest::{Neighbour, UnitRows};
use super::rounded::RoundedRows;

/// Temperature of the votes, `eval_knn.py --temperature`.
pub const TEMPERATURE: f64 = 0.07;

/// The numbers of neighbours that the program reports; 20 is the paper's headline.
pub const NEIGHBOURS: [usize; 4] = [10, 20, 100, 200];

/// How many ranked classes count as a hit of top-5.
const TOP: usize = 5;

/// Accuracy at one number of neighbours.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KnnScore {
    /// Number of neighbours that voted.
    pub k: usize,
    /// Share of queries whose best class is right, in percent.
    pub top1: f64,
    /// Share of queries with the right class among the best five, in percent.
    pub top5: f64,
}

/// Accuracies of a validation set.
#[derive(Clone, Debug, PartialEq)]
pub struct KnnResult {
    /// One entry for each `k` used, in the order asked for; what was clipped to the same `k` stands once.
    pub per_k: Vec<KnnScore>,
    /// The `k` that were asked for but exceed the training set, so that all of it voted instead.
    pub clipped: Vec<usize>,
    /// Number of training images.
    pub train: usize,
    /// Number of validation images.
    pub val: usize,
    /// Number of classes.
    pub classes: usize,
    /// Time of search and votes, without feature extraction.
    pub seconds: f64,
    /// The best class of every query, `[M]`, as [`KnnResult::headline`] neighbours say.
    pub predictions: Vec<u32>,
}

/// The paper's number of neighbours.
const HEADLINE: usize = 20;

impl KnnResult {
    /// The number of neighbours that is looked at more closely: the paper's 20, or the first one asked for.
    pub fn headline(&self) -> usize {
        let used = self.per_k.iter().map(|score| score.k).collect::<Vec<_>>();
        used[headline(&used, self.train)]
    }

    /// Returns the score at `k`, or at the whole training set if that is smaller; none if `k` was not asked for.
    pub fn at(&self, k: usize) -> Option<&KnnScore> {
        self.per_k.iter().find(|score| score.k == k.min(self.train))
    }
}

/// Place of the headline among the numbers of neighbours used.
fn headline(used: &[usize], train: usize) -> usize {
    used.iter().position(|k| *k == HEADLINE.min(train)).unwrap_or(0)
}

/// The training features, `[N, D]`.
#[derive(Clone, Debug)]
enum Bank {
    Full(UnitRows),
    Rounded(RoundedRows, Cpu),
}

/// The training set's unit features and labels, ready for queries.
#[derive(Clone, Debug)]
pub struct KnnBank {
    features: Bank,
    dim: usize,
    labels: Vec<u32>, // [N]
    classes: usize,
    temperature: f64,
}

impl KnnBank {
    /// Keeps the training features, scaled to unit length; a row of zeros stays as it is.
    ///
    /// # Shapes
    /// `features` is `[N, D]` and `labels` `[N]`; D follows from the two.
    ///
    /// # Errors
    /// Empty input, sizes that do not fit, a label at or above `classes`, a value that is not finite.
    pub fn new(features: Vec<f32>, labels: Vec<u32>, classes: usize) -> Result<Self, EvalError> {
        if labels.is_empty() || features.is_empty() {
            return Err(EvalError::Empty { what: "the k-NN training set" });
        }
        let dim = features.len() / labels.len();
        if dim * labels.len() != features.len() {
            let expected = dim.max(1) * labels.len();
            return Err(EvalError::Size { what: "the training features", found: features.len(), expected });
        }
        Self::of_rows(UnitRows::new(features, dim, "the training features")?, labels, classes)
    }

    /// The same of features that have unit length already.
    ///
    /// # Errors
    /// Not as many labels as rows, a label at or above `classes`.
    pub fn of_rows(features: UnitRows, labels: Vec<u32>, classes: usize) -> Result<Self, EvalError> {
        if features.len() != labels.len() {
            let (found, expected) = (labels.len(), features.len());
            return Err(EvalError::Size { what: "the list of training labels", found, expected });
        }
        check_labels(&labels, classes)?;
        let dim = features.dim();
        Ok(Self { features: Bank::Full(features), dim, labels, classes, temperature: TEMPERATURE })
    }

    /// The same bank with its features, and those of queries, rounded to bf16 and compared by these kernels.
    #[must_use]
    pub fn rounded(self, cpu: Cpu) -> Self {
        let features = match self.features {
            Bank::Full(rows) => Bank::Rounded(RoundedRows::new(&rows), cpu),
            Bank::Rounded(rows, _) => Bank::Rounded(rows, cpu),
        };
        Self { features, ..self }
    }

    /// The same bank with another temperature of the votes.
    ///
    /// # Errors
    /// [`EvalError::Temperature`] unless it is a number above 0.
    pub fn with_temperature(self, temperature: f64) -> Result<Self, EvalError> {
        check_temperature(temperature)?;
        Ok(Self { temperature, ..self })
    }

    /// Returns the number of training images.
    pub fn train(&self) -> usize {
        self.labels.len()
    }

    /// Returns the accuracy on labelled queries for each of `ks`, each clipped to the training set.
    ///
    /// Queries are searched block by block; only hits are kept.
    ///
    /// # Shapes
    /// `queries` is `[M, D]`, `labels` `[M]`.
    ///
    /// # Errors
    /// No queries, no `k` or a `k` of 0, sizes that do not fit, a label that is no class, a value that is not finite.
    pub fn evaluate(&self, queries: &[f32], labels: &[u32], ks: &[usize]) -> Result<KnnResult, EvalError> {
        let start = Instant::now();
        let used = self.clip(ks)?;
        if labels.is_empty() {
            return Err(EvalError::Empty { what: "the k-NN validation set" });
        }
        if queries.len() != labels.len() * self.dim {
            let expected = labels.len() * self.dim;
            return Err(EvalError::Size { what: "the validation features", found: queries.len(), expected });
        }
        check_labels(labels, self.classes)?;
        let ranked = self.ranked(queries, &used)?;
        let mut hits = vec![[0, 0]; used.len()];
        for (per_k, label) in ranked.iter().zip(labels) {
            for (hits, ranked) in hits.iter_mut().zip(per_k) {
                hits[0] += usize::from(ranked.first() == Some(label));
                hits[1] += usize::from(ranked.contains(label));
            }
        }
        let looked_at = headline(&used, self.train());
        let percent = |hits: usize| 100.0 * hits as f64 / labels.len() as f64;
        let score =
            |(&k, &[top1, top5]): (&usize, &[usize; 2])| KnnScore { k, top1: percent(top1), top5: percent(top5) };
        Ok(KnnResult {
            per_k: used.iter().zip(&hits).map(score).collect(),
            clipped: ks.iter().copied().filter(|&k| k > self.train()).collect(),
            train: self.train(),
            val: labels.len(),
            classes: self.classes,
            predictions: ranked.iter().filter_map(|per_k| per_k[looked_at].first().copied()).collect(),
            seconds: start.elapsed().as_secs_f64(),
        })
    }

    /// Returns for each query and each k the five best classes.
    fn ranked(&self, queries: &[f32], ks: &[usize]) -> Result<Vec<Vec<Vec<u32>>>, EvalError> {
        let most = ks.iter().copied().max().unwrap_or(1);
        let of_query = |found: Vec<Neighbour>| ks.iter().map(|&k| self.rank_classes(&found[..k])).collect::<Vec<_>>();
        match &self.features {
            Bank::Rounded(rows, cpu) => rows.search(cpu, (queries, most), of_query),
            Bank::Full(rows) => {
                let search = |block: &[f32]| rows.nearest(block, most).into_iter().map(&of_query).collect::<Vec<_>>();
                Ok(rows.for_each_block(queries, search)?.into_iter().flatten().collect())
            }
        }
    }

    /// Returns the distinct k after clipping, in the order given.
    fn clip(&self, ks: &[usize]) -> Result<Vec<usize>, EvalError> {
        check_neighbours(ks)?;
        let mut used = Vec::with_capacity(ks.len());
        for k in ks.iter().map(|&k| k.min(self.train())) {
            if !used.contains(&k) {
                used.push(k);
            }
        }
        Ok(used)
    }

    /// Returns the five classes with the most votes, best first. Classes without a vote fill up in label order.
    fn rank_classes(&self, neighbours: &[Neighbour]) -> Vec<u32> {
        // Votes relative to the nearest's: a common factor changes no ranking, and none overflows at a low temperature.
        let nearest = neighbours.first().map_or(0.0, |nearest| f64::from(nearest.similarity));
        let mut votes: Vec<(u32, f64)> = Vec::new(); // Only classes with a vote: cheap for 20,000 classes too.
        for neighbour in neighbours {
            let label = self.labels[neighbour.index];
            let weight = ((f64::from(neighbour.similarity) - nearest) / self.temperature).exp();
            match votes.iter_mut().find(|(voted, _)| *voted == label) {
                Some((_, sum)) => *sum += weight,
                None => votes.push((label, weight)),
            }
        }
        votes.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let mut ranked: Vec<u32> = votes.iter().take(TOP).map(|&(label, _)| label).collect();
        for label in 0..self.classes as u32 {
            if ranked.len() == TOP.min(self.classes) {
                break;
            }
            if !ranked.contains(&label) {
                ranked.push(label);
            }
        }
        ranked
    }
}

/// Whether there are numbers of neighbours, none of them 0.
///
/// # Errors
/// [`EvalError::NoNeighbours`].
pub fn check_neighbours(ks: &[usize]) -> Result<(), EvalError> {
    if ks.is_empty() || ks.contains(&0) { Err(EvalError::NoNeighbours) } else { Ok(()) }
}

/// Whether votes can have this temperature.
///
/// # Errors
/// [`EvalError::Temperature`] unless it is a number above 0.
pub fn check_temperature(temperature: f64) -> Result<(), EvalError> {
    if temperature > 0.0 && temperature.is_finite() { Ok(()) } else { Err(EvalError::Temperature { temperature }) }
}

fn check_labels(labels: &[u32], classes: usize) -> Result<(), EvalError> {
    match labels.iter().position(|&label| label as usize >= classes) {
        Some(index) => Err(EvalError::Label { label: labels[index], index, classes }),
        None => Ok(()),
    }
}
