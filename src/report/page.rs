//! The page of a run: one HTML file without scripts or links to other files, for light and dark readers.

use std::io::Cursor;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::bars::Bars;
use super::chart::{self, Chart};
use super::svg::{escape, put};

/// Everything that the page of a run says, in the order in which it is read. Empty parts are left out.
#[derive(Debug, Clone, Default)]
pub struct RunPage {
    /// Name of the run.
    pub title: String,
    /// How the run went.
    pub verdict: Verdict,
    /// What looks odd and is not, one sentence each.
    pub notes: Vec<String>,
    /// Things side by side.
    pub bars: Vec<Bars>,
    /// Curves over the run.
    pub charts: Vec<Chart>,
    /// Attention sheets, augmentations and the like.
    pub figures: Vec<Figure>,
    /// Evaluation results.
    pub tables: Vec<Table>,
    /// What was decided before the first step.
    pub plan: Vec<PlanLine>,
    /// How to load the network in Python.
    pub python: String,
    /// What to try next, one sentence each.
    pub next_steps: Vec<String>,
    /// The exact command line.
    pub command: String,
    /// What sets the configuration apart from others.
    pub settings: Vec<Table>,
    /// The resolved configuration.
    pub config_toml: String,
    /// Name and value: versions, processor, memory.
    pub environment: Vec<(String, String)>,
}

/// How a run went, in one sentence.
#[derive(Debug, Clone, Default)]
pub struct Verdict {
    /// Decides colour and leading word.
    pub state: VerdictState,
    /// Such as "k-NN 61.3 %, still rising".
    pub sentence: String,
}

/// The state of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum VerdictState {
    /// Nothing wrong was seen.
    #[default]
    Healthy,
    /// The result can be used, but something deserves a look.
    Warning,
    /// The run stopped or collapsed.
    Failed,
    /// Something to read, not to judge.
    Neutral,
}

/// One line of the plan.
#[derive(Debug, Clone, Default)]
pub struct PlanLine {
    /// What was decided.
    pub label: String,
    /// The decision.
    pub value: String,
    /// Why; may be empty.
    pub reason: String,
}

/// A picture with its words.
#[derive(Debug, Clone, Default)]
pub struct Figure {
    /// Heading.
    pub title: String,
    /// What is to be seen.
    pub caption: String,
    /// The bytes of a PNG, JPEG, GIF or WebP file.
    pub file: Vec<u8>,
    /// How it came to look so, if that is known.
    pub film: Option<Film>,
}

/// A film below a picture. Readers start it: it is closed until they open it.
#[derive(Debug, Clone, Default)]
pub struct Film {
    /// What to see in it.
    pub caption: String,
    /// Where the file lies, as seen from the page.
    pub place: String,
    /// The bytes of the file; empty if it is too large for the page.
    pub file: Vec<u8>,
}

/// A table with its words.
#[derive(Debug, Clone, Default)]
pub struct Table {
    /// Heading.
    pub title: String,
    /// What the numbers are.
    pub caption: String,
    /// Names of the columns.
    pub header: Vec<String>,
    /// The cells, row by row.
    pub rows: Vec<Vec<String>>,
}

/// Pictures at least this many times wider than high, or with this many columns, scroll sideways on a narrow screen.
const WIDE_RATIO: f64 = 1.5;
const WIDE_PX: u32 = 700;

impl RunPage {
    /// The page as HTML.
    pub fn to_html(&self) -> String {
        let title = escape(&self.title);
        let (page_style, chart_style) = (include_str!("page.css"), chart::style());
        let mut out = format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n\
             <style>\n{page_style}{chart_style}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n"
        );
        self.verdict.write(&mut out);
        for note in &self.notes {
            put(&mut out, format_args!("<p class=\"note aside\">{}</p>\n", escape(note)));
        }
        self.write_charts(&mut out);
        section(&mut out, "Pictures", &self.figures, write_figure);
        section(&mut out, "Results", &self.tables, write_table);
        self.write_plan(&mut out);
        self.write_next_steps(&mut out);
        self.write_provenance(&mut out);
        out.push_str("</main>\n</body>\n</html>\n");
        out
    }

    fn write_charts(&self, out: &mut String) {
        let bars = self.bars.iter().map(|bars| (bars.to_inline_svg(), bars.caption.as_str()));
        write_drawings(out, "Side by side", bars);
        let charts = self.charts.iter().map(|chart| (chart.to_inline_svg(), chart.caption.as_str()));
        write_drawings(out, "Curves", charts);
    }

    fn write_plan(&self, out: &mut String) {
        if self.plan.is_empty() {
            return;
        }
        out.push_str("<h2>Plan</h2>\n<div class=\"card\"><table class=\"plan\">\n");
        for PlanLine { label, value, reason } in &self.plan {
            let (label, value, reason) = (escape(label), escape(value), escape(reason));
            put(out, format_args!("<tr><td>{label}</td><td>{value}</td><td>{reason}</td></tr>\n"));
        }
        out.push_str("</table></div>\n");
    }

    fn write_next_steps(&self, out: &mut String) {
        if !self.python.is_empty() {
            put(out, format_args!("<h2>Use the network in Python</h2>\n<pre>{}</pre>\n", escape(&self.python)));
        }
        if self.next_steps.is_empty() {
            return;
        }
        out.push_str("<h2>What to try next</h2>\n<ul>\n");
        for step in &self.next_steps {
            put(out, format_args!("<li>{}</li>\n", escape(step)));
        }
        out.push_str("</ul>\n");
    }

    fn write_provenance(&self, out: &mut String) {
        if self.command.is_empty()
            && self.config_toml.is_empty()
            && self.environment.is_empty()
            && self.settings.is_empty()
        {
            return;
        }
        out.push_str("<h2>How this run was made</h2>\n");
        if !self.command.is_empty() {
            put(out, format_args!("<div class=\"card\"><h3>Command</h3><pre>{}</pre></div>\n", escape(&self.command)));
        }
        self.settings.iter().for_each(|table| write_table(out, table));
        if !self.config_toml.is_empty() {
            let config = escape(&self.config_toml);
            put(
                out,
                format_args!("<details class=\"card\"><summary>Configuration</summary><pre>{config}</pre></details>\n"),
            );
        }
        if !self.environment.is_empty() {
            out.push_str("<details class=\"card\"><summary>Environment</summary><table>\n");
            for (name, value) in &self.environment {
                put(out, format_args!("<tr><td>{}</td><td>{}</td></tr>\n", escape(name), escape(value)));
            }
            out.push_str("</table></details>\n");
        }
    }
}

impl Verdict {
    fn write(&self, out: &mut String) {
        let (class, word) = match self.state {
            VerdictState::Healthy => ("good", "Healthy"),
            VerdictState::Warning => ("warn", "Look closer"),
            VerdictState::Failed => ("bad", "Failed"),
            VerdictState::Neutral => ("plain", ""),
        };
        let word = if word.is_empty() { String::new() } else { format!("<strong>{word}</strong>") };
        let sentence = escape(&self.sentence);
        put(out, format_args!("<div class=\"verdict {class}\">{word}<span>{sentence}</span></div>\n"));
    }
}

/// A heading with drawings and their captions, or nothing when there are none.
fn write_drawings<'a>(out: &mut String, heading: &str, drawings: impl Iterator<Item = (String, &'a str)>) {
    let mut drawings = drawings.peekable();
    if drawings.peek().is_none() {
        return;
    }
    put(out, format_args!("<h2>{heading}</h2>\n<div class=\"charts\">\n"));
    for (drawing, caption) in drawings {
        put(out, format_args!("<figure>{drawing}"));
        if !caption.is_empty() {
            put(out, format_args!("<figcaption>{}</figcaption>", escape(caption)));
        }
        out.push_str("</figure>\n");
    }
    out.push_str("</div>\n");
}

/// A heading with its items, or nothing when there are none.
fn section<T>(out: &mut String, heading: &str, items: &[T], write: impl Fn(&mut String, &T)) {
    if items.is_empty() {
        return;
    }
    put(out, format_args!("<h2>{heading}</h2>\n"));
    for item in items {
        write(out, item);
    }
}

fn write_figure(out: &mut String, figure: &Figure) {
    let (title, caption) = (escape(&figure.title), escape(&figure.caption));
    put(out, format_args!("<figure><h3>{title}</h3><figcaption>{caption}</figcaption>"));
    write_image(out, &figure.title, &figure.file);
    if let Some(film) = &figure.film {
        write_film(out, &figure.title, film);
    }
    out.push_str("</figure>\n");
}

fn write_film(out: &mut String, title: &str, film: &Film) {
    let (caption, place) = (escape(&film.caption), escape(&film.place));
    if film.file.is_empty() {
        put(
            out,
            format_args!(
                "<p class=\"note\">The film over the epochs is too large for this page: <code>{place}</code></p>"
            ),
        );
        return;
    }
    put(out, format_args!("<details><summary>Film over the epochs</summary><div class=\"note\">{caption}</div>"));
    write_image(out, &format!("{title}, film"), &film.file);
    put(out, format_args!("<div class=\"note\">Also as <code>{place}</code></div></details>"));
}

fn write_image(out: &mut String, title: &str, file: &[u8]) {
    let (title, bytes) = (escape(title), STANDARD.encode(file));
    let kind = media_type(file);
    let (size, class) = match dimensions(file) {
        Some((width, height)) => {
            let wide = width >= WIDE_PX || f64::from(width) >= WIDE_RATIO * f64::from(height);
            let limit = format!("width=\"{width}\" height=\"{height}\" style=\"max-width:{width}px\"");
            (limit, if wide { "wide" } else { "" })
        }
        None => (String::new(), ""),
    };
    let source = format!("src=\"data:{kind};base64,{bytes}\"");
    put(out, format_args!("<div class=\"scroll\"><img class=\"{class}\" alt=\"{title}\" {size} {source}></div>"));
}

fn write_table(out: &mut String, table: &Table) {
    let (title, caption) = (escape(&table.title), escape(&table.caption));
    put(out, format_args!("<div class=\"card\"><h3>{title}</h3><div class=\"note\">{caption}</div>"));
    out.push_str("<div class=\"scroll\"><table>\n");
    if !table.header.is_empty() {
        put(out, format_args!("<thead><tr>{}</tr></thead>\n", cells(&table.header, "th")));
    }
    for row in &table.rows {
        put(out, format_args!("<tr>{}</tr>\n", cells(row, "td")));
    }
    out.push_str("</table></div></div>\n");
}

fn cells(texts: &[String], tag: &str) -> String {
    texts.iter().map(|text| format!("<{tag}>{}</{tag}>", escape(text))).collect()
}

fn dimensions(file: &[u8]) -> Option<(u32, u32)> {
    image::ImageReader::new(Cursor::new(file)).with_guessed_format().ok()?.into_dimensions().ok()
}

fn media_type(file: &[u8]) -> &'static str {
    image::guess_format(file).map_or("image/png", |format| format.to_mime_type())
}
