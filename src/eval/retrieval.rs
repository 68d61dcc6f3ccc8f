//! Retrieval: how far up a ranking the right images stand. Revisited Oxford and Paris (Radenović et al. 2018, arXiv:1803.11285),
//! as scored in DINO (Caron et al. 2021), section 4.2.1 / `utils.py:compute_map`.
//!
//! The average precision is the area under precision over recall by trapezoids: the j-th right image (from 0) at place r of the
//! ranking adds ((j / r, or 1 at place 0) + (j + 1) / (r + 1)) / 2 of its share of the recall. Images that are neither right nor
//! wrong are taken out of the ranking first.
//!
//! Differences from the program: a query none of whose right images is in the ranking scores 0 (it stops), and ties have an order
//! (the image with the lower index first).

use serde::Serialize;

use super::EvalError;
use super::nearest::{Neighbour, UnitRows};

/// Lengths of the beginning of a ranking whose precision is reported.
pub const CUTS: [usize; 3] = [1, 5, 10];

/// Which images of the database show what a query shows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Truth {
    /// Clearly.
    pub easy: Vec<usize>,
    /// With difficulty.
    pub hard: Vec<usize>,
    /// Too little of it to count either way.
    pub junk: Vec<usize>,
}

/// Which images are to be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Setting {
    /// The easy ones; hard ones do not count.
    Easy,
    /// Easy and hard ones.
    Medium,
    /// The hard ones; easy ones do not count.
    Hard,
}

/// What an image of a ranking is to its query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mark {
    /// It shows the same.
    Right,
    /// It does not.
    Wrong,
    /// It does not count.
    Junk,
}

/// How well one query did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QueryScore {
    /// Average precision, 0 to 1.
    pub average_precision: f64,
    /// Precision of the first images, one for each of [`CUTS`], 0 to 1.
    pub precision: [f64; CUTS.len()],
}

/// Means over the queries.
#[derive(Debug, Clone, PartialEq)]
pub struct Scores {
    /// Mean average precision, 0 to 1.
    pub map: f64,
    /// Mean precision of the first images, one for each of [`CUTS`], 0 to 1.
    pub precision: [f64; CUTS.len()],
    /// Each query; none where nothing is to be found, and then it is not part of the means.
    pub queries: Vec<Option<QueryScore>>,
}

impl Setting {
    /// All, in the order in which they are reported.
    pub const ALL: [Self; 3] = [Self::Easy, Self::Medium, Self::Hard];

    /// As written in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Easy => "easy",
            Self::Medium => "medium",
            Self::Hard => "hard",
        }
    }
}

impl Truth {
    /// What each of `images` images is under a setting.
    ///
    /// # Errors
    /// If an index is that of no image.
    pub fn marks(&self, setting: Setting, images: usize) -> Result<Vec<Mark>, EvalError> {
        let (easy, hard) = match setting {
            Setting::Easy => (Mark::Right, Mark::Junk),
            Setting::Medium => (Mark::Right, Mark::Right),
            Setting::Hard => (Mark::Junk, Mark::Right),
        };
        let mut marks = vec![Mark::Wrong; images];
        let mut lists = [(&self.junk, Mark::Junk), (&self.easy, easy), (&self.hard, hard)];
        // An image of two lists is right if one of them says so.
        lists.sort_by_key(|(_, mark)| *mark == Mark::Right);
        for (indices, mark) in lists {
            for &index in indices {
                *marks.get_mut(index).ok_or(EvalError::NoSuchImage { index, images })? = mark;
            }
        }
        Ok(marks)
    }
}

/// How well a ranking did, best first, of which `right` images are to be found; none if that is no image.
pub fn query_score(ranking: impl IntoIterator<Item = Mark>, right: usize) -> Option<QueryScore> {
    let counted = ranking.into_iter().filter(|mark| *mark != Mark::Junk);
    let places: Vec<usize> = (0..).zip(counted).filter(|(_, mark)| *mark == Mark::Right).map(|(at, _)| at).collect();
    (right > 0).then(|| QueryScore {
        average_precision: average_precision(&places, right),
        precision: CUTS.map(|cut| precision(&places, cut)),
    })
}

/// Area under precision over recall, where those found of `right` images stand at `places`, from 0 and ascending.
pub fn average_precision(places: &[usize], right: usize) -> f64 {
    let share = |(found, place): (usize, &usize)| {
        let before = if *place == 0 { 1.0 } else { found as f64 / *place as f64 };
        let after = (found + 1) as f64 / (place + 1) as f64;
        (before + after) / 2.0
    };
    places.iter().enumerate().map(share).sum::<f64>() / right as f64
}

/// Share of right images among the first `cut`, or up to the last right one if that comes before.
fn precision(places: &[usize], cut: usize) -> f64 {
    let Some(last) = places.last() else { return 0.0 };
    let within = cut.min(last + 1);
    places.iter().filter(|place| **place < within).count() as f64 / within as f64
}

impl Scores {
    /// The means.
    ///
    /// # Errors
    /// [`EvalError::NothingToFind`] if no query has an image to find.
    pub fn of(queries: Vec<Option<QueryScore>>) -> Result<Self, EvalError> {
        let scored = queries.iter().flatten().count();
        if scored == 0 {
            return Err(EvalError::NothingToFind);
        }
        let mean =
            |value: &dyn Fn(&QueryScore) -> f64| queries.iter().flatten().map(value).sum::<f64>() / scored as f64;
        let map = mean(&|query| query.average_precision);
        let precision = std::array::from_fn(|cut| mean(&|query| query.precision[cut]));
        Ok(Self { map, precision, queries })
    }
}

/// How many images are to be found.
fn right(marks: &[Mark]) -> usize {
    marks.iter().filter(|mark| **mark == Mark::Right).count()
}

/// What one query found.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranked {
    /// Its score under each setting.
    pub scores: Vec<Option<QueryScore>>,
    /// The first images of the ranking with what they are to the query.
    pub first: Vec<(Neighbour, Mark)>,
}

/// Ranks a database by cosine for each query, and scores that under each of [`Setting::ALL`]; the first `kept` images are those of
/// the medium setting.
///
/// # Shapes
/// `queries` is `[M, D]` with rows as long as the database's; `truth` `[M]`.
///
/// # Errors
/// If there is not one truth for each query, an index is that of no image, or a value is not finite.
pub fn rank(database: &UnitRows, queries: &[f32], truth: &[Truth], kept: usize) -> Result<Vec<Ranked>, EvalError> {
    if queries.len() != truth.len() * database.dim() {
        let expected = truth.len() * database.dim();
        return Err(EvalError::Size { what: "the query features", found: queries.len(), expected });
    }
    let ranked = database.ranked(queries, |query, ranking| {
        let mut found = Ranked { scores: Vec::new(), first: Vec::new() };
        for setting in Setting::ALL {
            let marks = truth[query].marks(setting, database.len())?;
            found.scores.push(query_score(ranking.iter().map(|near| marks[near.index]), right(&marks)));
            if setting == Setting::Medium {
                found.first = ranking.iter().take(kept).map(|near| (*near, marks[near.index])).collect();
            }
        }
        Ok(found)
    })?;
    ranked.into_iter().collect()
}

/// Looks for each image among the others: those of its own class are right. There is one score for each.
///
/// # Shapes
/// `classes` is `[N]`, as many as `images` has rows.
///
/// # Errors
/// If there are not as many classes as images.
pub fn rank_classes(images: &UnitRows, classes: &[u32], kept: usize) -> Result<Vec<Ranked>, EvalError> {
    if images.len() != classes.len() {
        return Err(EvalError::Size { what: "the list of classes", found: classes.len(), expected: images.len() });
    }
    images.ranked(images.values(), |query, ranking| {
        let mark = |index: usize| if classes[index] == classes[query] { Mark::Right } else { Mark::Wrong };
        let others = ranking.iter().filter(|near| near.index != query).map(|near| (*near, mark(near.index)));
        let marks: Vec<Mark> = others.clone().map(|(_, mark)| mark).collect();
        Ranked { scores: vec![query_score(marks.iter().copied(), right(&marks))], first: others.take(kept).collect() }
    })
}
