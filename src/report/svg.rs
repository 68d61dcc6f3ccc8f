//! Charts to SVG. Colours are CSS variables, so that one drawing serves light and dark pages.

use std::fmt::Write;

use super::chart::{Chart, Span, style};

/// Size of the drawing in its own units; the page scales it.
const WIDTH: f64 = 440.0;
const PLOT_HEIGHT: f64 = 190.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 14.0;
const BOTTOM: f64 = 46.0;
const TITLE_HEIGHT: f64 = 30.0;
const LEGEND_ROW: f64 = 18.0;
/// Width of the line sample in the legend with the space around it.
const LEGEND_SAMPLE: f64 = 26.0;
/// Mean width of a letter at the legend's size; generous, so that wide letters fit too.
const LETTER_WIDTH: f64 = 6.7;
/// Colours of curves in `chart.css`.
const SERIES_COLOURS: usize = 6;
/// Dashes that tell one reference line from the next.
const DASHES: [&str; 4] = ["6 4", "2 3", "10 3 2 3", "1 5"];

/// The place of the plot in the drawing.
struct Frame {
    top: f64,
    x: Span,
    y: Span,
}

/// One entry of the legend, laid out.
struct Entry<'a> {
    name: &'a str,
    /// Attributes of the line sample.
    stroke: String,
    x: f64,
    y: f64,
}

impl Chart {
    /// The chart as an `<svg>` element for a page whose style sheet holds [`style`].
    pub fn to_inline_svg(&self) -> String {
        render(self, "")
    }

    /// The chart as an SVG file of its own, readable on light and dark grounds.
    pub fn to_svg_file(&self) -> String {
        render(self, &style())
    }
}

/// The whole `<svg>` element; `style` goes into it when it is a file of its own.
fn render(chart: &Chart, style: &str) -> String {
    let legend = legend(chart);
    let legend_rows = legend.last().map_or(0.0, |entry| (entry.y - TITLE_HEIGHT) / LEGEND_ROW + 1.0);
    let top = TITLE_HEIGHT + legend_rows * LEGEND_ROW + 8.0;
    let height = top + PLOT_HEIGHT + BOTTOM;
    let frame = Frame { top, x: chart.x_span(), y: chart.y_span() };
    let title = escape(&chart.title);
    let mut out = format!(
        "<svg class=\"chart\" xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" \
         aria-label=\"{title}\">"
    );
    if !style.is_empty() {
        put(&mut out, format_args!("<style>{style}</style>"));
    }
    put(&mut out, format_args!("<text class=\"title\" x=\"4\" y=\"17\">{title}</text>"));
    draw_legend(&mut out, &legend);
    draw_axes(&mut out, chart, &frame);
    draw_references(&mut out, chart, &frame);
    let drawn = draw_series(&mut out, chart, &frame);
    if drawn == 0 {
        let (x, y) = (LEFT + frame.width() / 2.0, top + PLOT_HEIGHT / 2.0);
        put(&mut out, format_args!("<text x=\"{x:.0}\" y=\"{y:.0}\" text-anchor=\"middle\">no values yet</text>"));
    }
    out.push_str("</svg>");
    out
}

impl Frame {
    fn width(&self) -> f64 {
        WIDTH - LEFT - RIGHT
    }

    fn left_of(&self, x: f64) -> f64 {
        LEFT + self.x.share(x) * self.width()
    }

    fn top_of(&self, y: f64) -> f64 {
        self.top + (1.0 - self.y.share(y)) * PLOT_HEIGHT
    }
}

/// Lays the legend out in rows above the plot, where it cannot hide a curve; a lone curve has the title for a name.
fn legend(chart: &Chart) -> Vec<Entry<'_>> {
    if chart.series.len() == 1 && chart.references.is_empty() {
        return Vec::new();
    }
    let series = chart.series.iter().enumerate().map(|(n, series)| (series.name.as_str(), series_stroke(n)));
    let shown = chart.references.iter().filter(|reference| reference.y.is_finite());
    let references = shown.enumerate().map(|(n, reference)| (reference.name.as_str(), reference_stroke(n)));
    let (mut x, mut y) = (4.0, TITLE_HEIGHT);
    let mut entries = Vec::new();
    for (name, stroke) in series.chain(references) {
        let width = LEGEND_SAMPLE + LETTER_WIDTH * name.chars().count() as f64 + 12.0;
        if x > 4.0 && x + width > WIDTH {
            (x, y) = (4.0, y + LEGEND_ROW);
        }
        entries.push(Entry { name, stroke, x, y });
        x += width;
    }
    entries
}

fn draw_legend(out: &mut String, legend: &[Entry<'_>]) {
    for Entry { name, stroke, x, y } in legend {
        let (middle, end, text, baseline) = (y + 6.0, x + 18.0, x + LEGEND_SAMPLE - 2.0, y + 10.0);
        put(out, format_args!("<line {stroke} x1=\"{x:.1}\" x2=\"{end:.1}\" y1=\"{middle:.1}\" y2=\"{middle:.1}\"/>"));
        let name = escape(name);
        put(out, format_args!("<text class=\"legend\" x=\"{text:.1}\" y=\"{baseline:.1}\">{name}</text>"));
    }
}

fn draw_axes(out: &mut String, chart: &Chart, frame: &Frame) {
    let (right, bottom) = (WIDTH - RIGHT, frame.top + PLOT_HEIGHT);
    for (value, label) in frame.y.ticks() {
        let y = frame.top_of(value);
        put(out, format_args!("<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>"));
        let (x, y) = (LEFT - 7.0, y + 4.0);
        put(out, format_args!("<text x=\"{x}\" y=\"{y:.1}\" text-anchor=\"end\">{label}</text>"));
    }
    for (value, label) in frame.x.ticks() {
        let (x, end, y) = (frame.left_of(value), bottom + 4.0, bottom + 17.0);
        put(out, format_args!("<line class=\"axis\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{bottom}\" y2=\"{end}\"/>"));
        put(out, format_args!("<text x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\">{label}</text>"));
    }
    put(out, format_args!("<line class=\"axis\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{bottom}\" y2=\"{bottom}\"/>"));
    let (middle, below) = (LEFT + frame.width() / 2.0, bottom + 36.0);
    let (x_label, y_label) = (escape(&chart.x_label), escape(&chart.y_label));
    put(out, format_args!("<text x=\"{middle}\" y=\"{below}\" text-anchor=\"middle\">{x_label}</text>"));
    let centre = frame.top + PLOT_HEIGHT / 2.0;
    let place = format!("transform=\"rotate(-90)\" x=\"{:.1}\" y=\"11\"", -centre);
    put(out, format_args!("<text {place} text-anchor=\"middle\">{y_label}</text>"));
}

fn draw_references(out: &mut String, chart: &Chart, frame: &Frame) {
    let right = WIDTH - RIGHT;
    for (n, reference) in chart.references.iter().filter(|reference| reference.y.is_finite()).enumerate() {
        let (y, stroke) = (frame.top_of(reference.y), reference_stroke(n));
        put(out, format_args!("<line {stroke} x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>"));
    }
}

/// Draws the curves and returns how many stretches there were.
fn draw_series(out: &mut String, chart: &Chart, frame: &Frame) -> usize {
    let mut drawn = 0;
    for (n, series) in chart.series.iter().enumerate() {
        for stretch in series.stretches() {
            drawn += 1;
            let places: Vec<(f64, f64)> = stretch.iter().map(|&(x, y)| (frame.left_of(x), frame.top_of(y))).collect();
            if let [(x, y)] = places[..] {
                let colour = n % SERIES_COLOURS;
                put(out, format_args!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" style=\"fill:var(--s{colour})\"/>"));
                continue;
            }
            let points: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
            put(out, format_args!("<polyline {} points=\"{}\"/>", series_stroke(n), points.join(" ")));
        }
    }
    drawn
}

fn series_stroke(n: usize) -> String {
    format!("class=\"line\" style=\"stroke:var(--s{})\"", n % SERIES_COLOURS)
}

fn reference_stroke(n: usize) -> String {
    format!("class=\"reference\" style=\"stroke:var(--ref);stroke-dasharray:{}\"", DASHES[n % DASHES.len()])
}

/// Text for the inside of an element or an attribute.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

/// Appends formatted text; writing to a string cannot fail.
pub(super) fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(text);
}
