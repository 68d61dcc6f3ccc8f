//! Model → frame: figures on top, charts below, then the talk, then the keys. What has no room is left out.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style as Look};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Axis, Block, Borders, Chart, Dataset, GraphType, Paragraph};

use super::model::{Curve, Model};
use crate::run::progress::{Snapshot, Style, duration, grouped};

/// Fewest columns and lines of a chart, and the proportion of the two that looks best.
const CHART: (u16, u16) = (34, 8);
const CHART_PROPORTION: f64 = 4.5;
/// Fewest lines of talk, with their heading, and the share of the height that they get.
const LOG_LINES: u16 = 6;
const LOG_SHARE: f64 = 0.25;
/// Fewest and most cells of the bar.
const BAR_CELLS: (usize, usize) = (6, 60);
/// Most lines of remedies, and the share of the height that they may take.
const REMEDY_LINES: usize = 4;
const REMEDY_SHARE: f64 = 0.2;
/// Room above and below a curve, as a share of its range.
const MARGIN: f64 = 0.05;

/// Draws the whole view; colours under [`Style::Colour`] alone.
pub fn draw(frame: &mut Frame<'_>, model: &Model, style: Style) {
    let paint = Paint(style);
    let area = frame.area();
    let header = header(model, paint, area);
    let above = (header.len() as u16).min(area.height);
    let rest = area.height - above;
    let keys = u16::from(rest > 1);
    let charts = charts(model);
    let grid = grid(charts.len(), area.width, rest - keys);
    let [top, middle, bottom, last] = Layout::vertical([
        Constraint::Length(above),
        Constraint::Length(grid.rows * grid.height),
        Constraint::Fill(1),
        Constraint::Length(keys),
    ])
    .areas(area);
    frame.render_widget(Paragraph::new(header), top);
    let slots = usize::from(grid.rows * grid.columns);
    if slots > 0 {
        let pages: Vec<&[Plot<'_>]> = charts.chunks(slots).collect();
        draw_charts(frame, middle, &grid, (pages[model.page % pages.len()], paint, model.curves.epochs()));
    }
    draw_log(frame, bottom, model, paint);
    frame.render_widget(key_line(slots, charts.len(), last.width, paint), last);
}

/// The colours, or their absence.
#[derive(Debug, Clone, Copy)]
struct Paint(Style);

impl Paint {
    fn colour(self, colour: Color) -> Look {
        if self.0 == Style::Colour { Look::new().fg(colour) } else { Look::new() }
    }

    fn quiet(self) -> Look {
        Look::new().add_modifier(Modifier::DIM)
    }

    fn loud(self) -> Look {
        Look::new().add_modifier(Modifier::BOLD)
    }

    fn line(self) -> Look {
        self.colour(Color::Cyan)
    }

    fn good(self) -> Look {
        self.colour(Color::Green)
    }

    fn warning(self) -> Look {
        self.colour(Color::Yellow)
    }

    fn bad(self) -> Look {
        self.colour(Color::Red).add_modifier(Modifier::BOLD)
    }
}

/// As many of the parts, from the first, as fit into `width`, three spaces apart.
fn fitting<'a>(parts: Vec<Span<'a>>, width: usize) -> Line<'a> {
    let mut line = Line::default();
    for part in parts {
        let space = if line.spans.is_empty() { 0 } else { GAP.len() };
        if line.spans.is_empty() || line.width() + space + part.width() <= width {
            if space > 0 {
                line.push_span(GAP);
            }
            line.push_span(part);
        }
    }
    line
}

const GAP: &str = "   ";

/// The lines on top: which run, how far, how fast, how well.
fn header(model: &Model, paint: Paint, area: Rect) -> Vec<Line<'_>> {
    let width = usize::from(area.width);
    let mut lines = vec![fitting(vec![Span::styled(&model.run, paint.loud()), Span::raw("dinoxide pretrain")], width)];
    let Some(snapshot) = &model.snapshot else {
        lines.push(Line::raw("waiting for the first figures…"));
        return lines;
    };
    lines.push(how_far(snapshot, paint, width));
    let mut speed = vec![
        Span::styled(format!("loss {:.3} {}", snapshot.loss, snapshot.trend()), paint.loud()),
        Span::raw(format!("{:.0} img/s", snapshot.images_per_second)),
        Span::raw(format!("wait {:.0} %", 100.0 * snapshot.data_wait)),
        Span::raw(format!("|g| {:.2}", snapshot.grad_norm)),
    ];
    speed.extend(snapshot.memory().map(Span::raw));
    lines.push(fitting(speed, width));
    let look = if snapshot.findings.is_empty() { paint.good() } else { paint.bad() };
    let mut health = vec![Span::styled(snapshot.state(), look)];
    health.extend(snapshot.features().map(Span::raw));
    lines.push(fitting(health, width));
    let remedies = snapshot.findings.iter().flat_map(|finding| wrapped(&format!("→ {}", finding.remedy()), width));
    let most = REMEDY_LINES.min((f64::from(area.height) * REMEDY_SHARE) as usize);
    lines.extend(remedies.take(most).map(|line| Line::styled(line, paint.colour(Color::Red))));
    lines
}

/// Epoch, bar, step and time to the end; the bar takes the room that is left.
fn how_far(snapshot: &Snapshot, paint: Paint, width: usize) -> Line<'static> {
    let Snapshot { epoch, epochs, step, total_steps, .. } = snapshot;
    let digits = epochs.to_string().len();
    let epoch = format!("epoch {epoch:>digits$}/{epochs}");
    let eta = format!("eta {}", snapshot.eta.map_or_else(|| "…".to_owned(), duration));
    let step_words = format!("step {}/{}", grouped(*step), grouped(*total_steps));
    let left = |texts: &[&String]| {
        let taken: usize = texts.iter().map(|text| text.chars().count() + GAP.len()).sum();
        width.checked_sub(taken).filter(|cells| *cells >= BAR_CELLS.0).map(|cells| cells.min(BAR_CELLS.1))
    };
    let (cells, texts) = match (left(&[&epoch, &step_words, &eta]), left(&[&epoch, &eta])) {
        (Some(cells), _) => (cells, vec![step_words, eta]),
        (None, Some(cells)) => (cells, vec![eta]),
        (None, None) => return fitting(vec![Span::raw(epoch), Span::raw(eta)], width),
    };
    let filled = snapshot.filled(cells);
    let mut line = Line::from(vec![
        Span::raw(epoch),
        Span::raw(GAP),
        Span::styled("━".repeat(filled), paint.line()),
        Span::styled("─".repeat(cells - filled), paint.quiet()),
    ]);
    texts.into_iter().for_each(|text| line.extend([Span::raw(GAP), Span::raw(text)]));
    line
}

/// Rows and columns of charts, and the height of one.
struct Grid {
    rows: u16,
    columns: u16,
    height: u16,
}

/// The grid that shows most of `count` charts, and of those the one whose charts have the best proportions.
fn grid(count: usize, width: u16, lines: u16) -> Grid {
    let count = count as u16;
    let log = LOG_LINES.max((f64::from(lines) * LOG_SHARE) as u16);
    let room = lines.saturating_sub(log);
    // A narrow terminal gets narrow charts.
    let most_columns = (width / CHART.0).clamp(1, count);
    let grids = (1..=room / CHART.1).map(|rows| {
        let columns = count.div_ceil(rows).min(most_columns);
        Grid { rows: rows.min(count.div_ceil(columns)), columns, height: room / rows }
    });
    let ugliness = |grid: &Grid| {
        let proportion = f64::from(width / grid.columns) / f64::from(grid.height.max(1));
        (proportion / CHART_PROPORTION).ln().abs()
    };
    let shown = |grid: &Grid| count.min(grid.rows * grid.columns);
    let better = |a: &Grid, b: &Grid| shown(a).cmp(&shown(b)).then(ugliness(b).total_cmp(&ugliness(a)));
    grids.max_by(better).unwrap_or(Grid { rows: 0, columns: 1, height: 0 })
}

/// A chart before it is drawn.
struct Plot<'a> {
    name: &'static str,
    curve: &'a Curve,
    /// A value to compare with, and its name.
    level: Option<(f64, String)>,
    /// What the newest value is, or why there is none.
    words: String,
}

/// The charts, most telling first.
fn charts(model: &Model) -> Vec<Plot<'_>> {
    let curves = &model.curves;
    let ln_k = || {
        let prototypes = model.prototypes?;
        let most = (prototypes as f64).ln();
        Some((most, format!("• ln {prototypes} = {most:.2}")))
    };
    let newest = |curve: &Curve, digits: usize, unit: &str| match curve.last() {
        Some((_, value)) => format!("{value:.digits$}{unit}"),
        None => "nothing yet".to_owned(),
    };
    let plot = |name, curve, words| Plot { name, curve, level: None, words };
    let loss = Plot { level: ln_k(), ..plot("loss", &curves.loss, newest(&curves.loss, 3, "")) };
    let rank = plot("rank", &curves.rank, newest(&curves.rank, 1, ""));
    let entropy = Plot { level: ln_k(), ..plot("teacher entropy", &curves.entropy, newest(&curves.entropy, 2, "")) };
    let kl = plot("KL", &curves.kl, newest(&curves.kl, 3, ""));
    let rate = curves.lr.last().map_or_else(|| "nothing yet".to_owned(), |(_, rate)| format!("{rate:.1e}"));
    let lr = plot("learning rate", &curves.lr, rate);
    let plots = match (curves.knn.last(), curves.knn.best()) {
        (Some((_, top1)), Some(best)) => {
            let knn = plot("k-NN", &curves.knn, format!("{top1:.1} %, best {best:.1} %"));
            vec![loss, knn, entropy, kl, lr, rank]
        }
        // Without labels.
        _ => vec![loss, rank, entropy, kl, lr],
    };
    // Only targets that are probabilities have an entropy.
    let told = |plot: &Plot<'_>| plot.level.is_some() || plot.name != "teacher entropy" && plot.name != "KL";
    plots.into_iter().filter(|plot| model.prototypes.is_some() || told(plot)).collect()
}

fn draw_charts(frame: &mut Frame<'_>, area: Rect, grid: &Grid, what: (&[Plot<'_>], Paint, f64)) {
    let (plots, paint, epochs) = what;
    let rows = Layout::vertical(vec![Constraint::Length(grid.height); usize::from(grid.rows)]).split(area);
    for (row, plots) in rows.iter().zip(plots.chunks(usize::from(grid.columns))) {
        let cells = Layout::horizontal(vec![Constraint::Fill(1); usize::from(grid.columns)]).spacing(1).split(*row);
        for (cell, plot) in cells.iter().zip(plots) {
            draw_chart(frame, *cell, plot, paint, epochs);
        }
    }
}

fn draw_chart(frame: &mut Frame<'_>, area: Rect, plot: &Plot<'_>, paint: Paint, epochs: f64) {
    let mut title = vec![Span::styled(plot.name, paint.loud()), Span::raw(plot.words.as_str())];
    title.extend(plot.level.iter().map(|(_, words)| Span::styled(words.as_str(), paint.quiet())));
    let title = Block::new().title(fitting(title, usize::from(area.width)));
    let points = plot.curve.points();
    if points.is_empty() {
        return frame.render_widget(title, area);
    }
    let (low, high) = range(points, plot.level.as_ref().map(|(level, _)| *level));
    let level: Vec<(f64, f64)> = plot.level.iter().flat_map(|(level, _)| [(0.0, *level), (epochs, *level)]).collect();
    let dataset = |points, look, marker| Dataset::default().data(points).style(look).marker(marker);
    let datasets = vec![
        dataset(&level, paint.quiet(), Marker::Dot).graph_type(GraphType::Line),
        dataset(points, paint.line(), Marker::Braille).graph_type(GraphType::Line),
    ];
    // Before the first epoch is over it is the whole width.
    let epochs = epochs.max(f64::MIN_POSITIVE);
    let x = Axis::default().bounds([0.0, epochs]).labels(["0".to_owned(), format!("epoch {epochs:.1}")]);
    let labels = [low, f64::midpoint(low, high), high].map(|value| tick(value, high - low));
    let y = Axis::default().bounds([low, high]).labels(labels);
    let chart = Chart::new(datasets).block(title).legend_position(None);
    frame.render_widget(chart.x_axis(x.style(paint.quiet())).y_axis(y.style(paint.quiet())), area);
}

/// From where to where a chart goes.
fn range(points: &[(f64, f64)], level: Option<f64>) -> (f64, f64) {
    let values = points.iter().map(|(_, value)| *value).chain(level);
    let (low, high) = values.fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)));
    // A level curve lies in the middle.
    let margin = if high > low { MARGIN * (high - low) } else { (MARGIN * high.abs()).max(f64::EPSILON) };
    let least = if low < 0.0 { f64::MIN } else { 0.0 };
    ((low - margin).max(least), high + margin)
}

/// A label of an axis that spans `range`.
fn tick(value: f64, range: f64) -> String {
    let digits = (1.0 - range.log10().floor()).clamp(0.0, 9.0) as usize;
    if digits > 3 { format!("{value:.1e}") } else { format!("{value:.digits$}") }
}

/// The newest lines, or older ones, as many as fit.
fn draw_log(frame: &mut Frame<'_>, area: Rect, model: &Model, paint: Paint) {
    let heading = match model.scrolled {
        0 => "log".to_owned(),
        newer => format!("log ({newer} newer)"),
    };
    let block = Block::new().borders(Borders::TOP).border_style(paint.quiet()).title(heading);
    let inner = block.inner(area);
    let (width, height) = (usize::from(inner.width), usize::from(inner.height));
    let mut lines: Vec<Line<'_>> = Vec::new();
    for text in model.log.iter().rev().skip(model.scrolled) {
        let look = if text.starts_with("warning") { paint.warning() } else { Look::new() };
        lines.extend(wrapped(text, width).into_iter().rev().map(|line| Line::styled(line, look)));
        if lines.len() >= height {
            break;
        }
    }
    lines.truncate(height);
    lines.reverse();
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

/// The text in lines of at most `width` cells, broken between words where that is possible.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let (mut lines, mut line) = (Vec::new(), String::new());
    for word in text.split_inclusive(' ') {
        if !line.is_empty() && cells(&line) + cells(word.trim_end()) > width {
            lines.push(std::mem::take(&mut line));
        }
        for character in word.chars() {
            // A path may be longer than a line.
            if character != ' ' && !line.is_empty() && cells(&line) + cells(character.encode_utf8(&mut [0; 4])) > width
            {
                lines.push(std::mem::take(&mut line));
            }
            line.push(character);
        }
    }
    lines.push(line);
    lines
}

fn cells(text: &str) -> usize {
    Span::raw(text).width()
}

fn key_line(slots: usize, charts: usize, width: u16, paint: Paint) -> Line<'static> {
    let mut keys = vec![Span::raw("q  save and stop"), Span::raw("↑↓  older, newer")];
    if slots > 0 && slots < charts {
        keys.push(Span::raw("Tab  other charts"));
    }
    fitting(keys, usize::from(width)).style(paint.quiet())
}
