//! Bar charts: one bar below the other, each with its name and number, in the colours of the curves.

use super::svg::{escape, put};

/// Size of the drawing in its own units; the page scales it.
const WIDTH: f64 = 440.0;
const TITLE_HEIGHT: f64 = 30.0;
const ROW: f64 = 26.0;
const BAR: f64 = 14.0;
/// Rows of what is only there to compare with.
const SLIM_ROW: f64 = 18.0;
const SLIM_BAR: f64 = 8.0;
/// Where bars begin; their names stand before.
const LEFT: f64 = 220.0;
/// Room for a number behind the longest bar.
const NUMBER: f64 = 92.0;
/// Numbers from here on have no decimals.
const LARGE: f64 = 1000.0;
/// Colours of curves in `chart.css`.
const SERIES_COLOURS: usize = 6;
/// Letters of a name.
const MOST_LETTERS: usize = 34;

/// A bar chart.
#[derive(Debug, Clone, Default)]
pub struct Bars {
    /// Heading.
    pub title: String,
    /// One or two sentences below it that say how to read it.
    pub caption: String,
    /// Unit of the numbers.
    pub unit: String,
    /// The bars, from above.
    pub bars: Vec<Bar>,
}

/// A bar.
#[derive(Debug, Clone)]
pub struct Bar {
    /// What it is of.
    pub name: String,
    /// Its number; what is not finite or negative has no length.
    pub value: f64,
    /// How it looks.
    pub tone: Tone,
}

/// How a bar looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// In a colour of its own.
    Series(usize),
    /// Something blind, to be beaten.
    Floor,
    /// A number from elsewhere.
    Published,
}

impl Bars {
    /// The chart as an `<svg>` element for a page whose style sheet holds [`super::chart::style`].
    pub fn to_inline_svg(&self) -> String {
        let height = TITLE_HEIGHT + self.bars.iter().map(|bar| bar.row()).sum::<f64>() + 6.0;
        let longest = self.bars.iter().map(|bar| bar.length()).fold(0.0, f64::max);
        let title = escape(&self.title);
        let mut out = format!(
            "<svg class=\"chart\" xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" \
             aria-label=\"{title}\">"
        );
        put(&mut out, format_args!("<text class=\"title\" x=\"4\" y=\"17\">{title}</text>"));
        let mut top = TITLE_HEIGHT;
        for bar in &self.bars {
            let share = if longest > 0.0 { bar.length() / longest } else { 0.0 };
            bar.draw(&mut out, top, share, &self.unit);
            top += bar.row();
        }
        out.push_str("</svg>");
        out
    }
}

impl Bar {
    fn length(&self) -> f64 {
        if self.value.is_finite() { self.value.max(0.0) } else { 0.0 }
    }

    fn row(&self) -> f64 {
        if matches!(self.tone, Tone::Series(_)) { ROW } else { SLIM_ROW }
    }

    fn draw(&self, out: &mut String, top: f64, share: f64, unit: &str) {
        let number = match self.value.is_finite() {
            true if self.value >= LARGE => format!("{:.0} {unit}", self.value),
            true => format!("{:.1} {unit}", self.value),
            false => NAN.to_owned(),
        };
        let (number, name) = (escape(&number), escape(&shortened(&self.name)));
        let (class, height, colour) = match self.tone {
            Tone::Series(place) => (" class=\"legend\"", BAR, format!("fill:var(--s{})", place % SERIES_COLOURS)),
            Tone::Floor => ("", SLIM_BAR, "fill:var(--ref);opacity:0.45".to_owned()),
            Tone::Published => ("", SLIM_BAR, "fill:var(--ref);opacity:0.85".to_owned()),
        };
        let middle = top + self.row() / 2.0;
        let (x, baseline) = (LEFT - 8.0, middle + 4.0);
        put(out, format_args!("<text{class} x=\"{x}\" y=\"{baseline:.1}\" text-anchor=\"end\">{name}</text>"));
        let (width, bar_top) = ((share * (WIDTH - LEFT - NUMBER)).max(1.0), middle - height / 2.0);
        let place = format!("x=\"{LEFT}\" y=\"{bar_top:.1}\" width=\"{width:.1}\" height=\"{height}\" rx=\"2\"");
        put(out, format_args!("<rect {place} style=\"{colour}\"/>"));
        let x = LEFT + width + 6.0;
        put(out, format_args!("<text{class} x=\"{x:.1}\" y=\"{baseline:.1}\">{number}</text>"));
    }
}

/// What stands for a number that is none.
const NAN: &str = "not a number";

fn shortened(name: &str) -> String {
    if name.chars().count() <= MOST_LETTERS {
        return name.to_owned();
    }
    let first: String = name.chars().take(MOST_LETTERS - 1).collect();
    format!("{}…", first.trim_end())
}
