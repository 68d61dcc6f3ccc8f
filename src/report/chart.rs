//! Line charts: what to draw, and the scales and ticks that follow from it.

/// A line chart.
#[derive(Debug, Clone, Default)]
pub struct Chart {
    /// Heading above the plot.
    pub title: String,
    /// One or two sentences below the chart that say how to read it.
    pub caption: String,
    /// Name and unit of the horizontal axis.
    pub x_label: String,
    /// Name and unit of the vertical axis.
    pub y_label: String,
    /// The curves.
    pub series: Vec<Series>,
    /// Horizontal lines to compare with.
    pub references: Vec<Reference>,
}

/// One curve. Points that are not finite leave a gap.
#[derive(Debug, Clone)]
pub struct Series {
    /// Name in the legend.
    pub name: String,
    /// `(x, y)` in ascending order of x.
    pub points: Vec<(f64, f64)>,
}

/// A horizontal line, such as the loss of a collapsed network or the accuracy of chance.
#[derive(Debug, Clone)]
pub struct Reference {
    /// Name in the legend.
    pub name: String,
    /// Its place on the vertical axis.
    pub y: f64,
}

/// A closed interval of an axis, never empty.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Span {
    pub(super) low: f64,
    pub(super) high: f64,
}

/// Longer curves are averaged down to this many points: more cannot be seen.
const MAX_POINTS: usize = 400;
/// Ticks that an axis should have, about.
const TICKS: f64 = 5.0;
/// Share of the data's extent that is left free above and below.
const HEADROOM: f64 = 0.06;
/// Zero joins the axis when it lies closer below the data than this share of the data's extent.
const ZERO_NEAR: f64 = 0.4;

impl Chart {
    /// Extent of the horizontal axis.
    pub(super) fn x_span(&self) -> Span {
        Span::of(self.finite_points().map(|(x, _)| x)).unwrap_or(Span { low: 0.0, high: 1.0 })
    }

    /// Extent of the vertical axis, references included.
    pub(super) fn y_span(&self) -> Span {
        let references = self.references.iter().map(|reference| reference.y).filter(|y| y.is_finite());
        let span = Span::of(self.finite_points().map(|(_, y)| y).chain(references));
        span.unwrap_or(Span { low: 0.0, high: 1.0 }).with_headroom()
    }

    fn finite_points(&self) -> impl Iterator<Item = (f64, f64)> {
        let points = self.series.iter().flat_map(|series| series.points.iter().copied());
        points.filter(|(x, y)| x.is_finite() && y.is_finite())
    }
}

impl Series {
    /// A curve from its name and points.
    pub fn new(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self { name: name.into(), points }
    }

    /// The unbroken stretches of the curve, thinned to what can be seen.
    pub(super) fn stretches(&self) -> Vec<Vec<(f64, f64)>> {
        let thinned = thin(&self.points);
        thinned
            .split(|(x, y)| !(x.is_finite() && y.is_finite()))
            .filter(|stretch| !stretch.is_empty())
            .map(<[_]>::to_vec)
            .collect()
    }
}

impl Reference {
    /// A reference line from its name and place.
    pub fn new(name: impl Into<String>, y: f64) -> Self {
        Self { name: name.into(), y }
    }
}

impl Span {
    /// The extent of finite values; a single value gets room on both sides.
    fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let (low, high) =
            values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        if low > high {
            return None;
        }
        // Closer than rounding noise is constant.
        let closest = 1e-9 * low.abs().max(high.abs());
        if high - low > closest {
            return Some(Self { low, high });
        }
        let room = if low == 0.0 { 1.0 } else { 0.1 * low.abs() };
        Some(Self { low: low - room, high: high + room })
    }

    /// Room above and below; zero becomes the floor where it is near.
    fn with_headroom(self) -> Self {
        let extent = self.high - self.low;
        let room = HEADROOM * extent;
        let low = if (0.0..ZERO_NEAR * extent).contains(&self.low) { 0.0 } else { self.low - room };
        Self { low, high: self.high + room }
    }

    /// Where a value lies, 0 at the low end and 1 at the high end.
    pub(super) fn share(self, value: f64) -> f64 {
        (value - self.low) / (self.high - self.low)
    }

    /// Round numbers within the span with their labels.
    pub(super) fn ticks(self) -> Vec<(f64, String)> {
        let step = nice_step((self.high - self.low) / TICKS);
        let first = (self.low / step - 1e-6).ceil() as i64;
        let last = (self.high / step + 1e-6).floor() as i64;
        (first..=last).map(|n| n as f64 * step).map(|value| (value, tick_label(value, step))).collect()
    }
}

/// The style sheet that the charts need: two palettes, told apart by the reader's preference.
pub fn style() -> String {
    include_str!("chart.css").to_string()
}

/// The smallest of 1, 2, 2.5, 5 times a power of ten that is at least `rough`.
fn nice_step(rough: f64) -> f64 {
    let power = 10f64.powf(rough.log10().floor());
    let factors = [1.0, 2.0, 2.5, 5.0, 10.0];
    let factor = factors.into_iter().find(|factor| factor * power >= rough * (1.0 - 1e-9));
    factor.unwrap_or(10.0) * power
}

/// A tick's number with as many decimals as its step has.
fn tick_label(value: f64, step: f64) -> String {
    // Beyond these sizes plain decimals are wider than the margin.
    if step < 1e-4 || value.abs() >= 1e6 {
        if value == 0.0 {
            return "0".to_string();
        }
        return format!("{:.1e}", value).replace(".0e", "e");
    }
    let mut decimals = 0;
    while decimals < 6 && (step * 10f64.powi(decimals) - (step * 10f64.powi(decimals)).round()).abs() > 1e-6 {
        decimals += 1;
    }
    let label = format!("{value:.*}", decimals as usize);
    if label.trim_start_matches(['-', '0', '.']).is_empty() { label.replace('-', "") } else { label }
}

/// Means over equal runs of points; a run without any finite point stays a gap.
fn thin(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    if points.len() <= MAX_POINTS {
        return points.to_vec();
    }
    let run = points.len().div_ceil(MAX_POINTS);
    points
        .chunks(run)
        .map(|chunk| {
            let finite = || chunk.iter().filter(|(x, y)| x.is_finite() && y.is_finite());
            let count = finite().count() as f64;
            // 0 / 0 for a run without a finite point: the gap.
            (finite().map(|point| point.0).sum::<f64>() / count, finite().map(|point| point.1).sum::<f64>() / count)
        })
        .collect()
}
