//! What a run says: talk to stderr and `train.log`, results to stdout.

use std::fs::{File, OpenOptions};
use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use super::RunError;
use super::interrupt::Interrupt;
use super::progress::{Lines, Snapshot, Style, timestamp};
use super::tui::{Model, News, Screen};

/// How much is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Verbosity {
    /// Warnings only.
    Quiet,
    /// The plan, progress, notices.
    #[default]
    Normal,
    /// Every value of the configuration as well.
    Verbose,
}

/// Whether results go to stdout as JSON lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Figures {
    /// For people, with the talk.
    #[default]
    Talk,
    /// JSON lines on stdout.
    Json,
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Progress {
    /// Two lines under the talk.
    #[default]
    Lines,
    /// Curves, figures and talk on the whole terminal.
    Screen,
}

/// What is shown while a run goes on.
#[derive(Debug)]
enum Display {
    Lines(Lines),
    Screen(Screen),
}

impl Display {
    fn lines() -> Self {
        Self::Lines(Lines::new(Style::of_stderr(std::io::stderr().is_terminal())))
    }

    fn show(&self, snapshot: &Snapshot) {
        match self {
            Self::Lines(lines) => lines.show(snapshot),
            Self::Screen(screen) => screen.show(News::Progress(Box::new(snapshot.clone()))),
        }
    }

    fn say(&self, text: &str) {
        match self {
            Self::Lines(lines) => lines.above(text),
            Self::Screen(screen) => screen.show(News::Said(text.to_owned())),
        }
    }

    fn end(self) {
        match self {
            Self::Lines(lines) => lines.end(),
            Self::Screen(screen) => drop(screen),
        }
    }
}

/// The voice of a command.
#[derive(Debug)]
pub struct Console {
    verbosity: Verbosity,
    figures: Figures,
    progress: Progress,
    log: Mutex<Option<File>>,
    display: Mutex<Option<Display>>,
}

impl Console {
    /// A console that writes to stderr, and to stdout under [`Figures::Json`].
    pub fn new(verbosity: Verbosity, figures: Figures) -> Self {
        let progress = Progress::default();
        Self { verbosity, figures, progress, log: Mutex::new(None), display: Mutex::new(None) }
    }

    /// The same with another way to show progress.
    #[must_use]
    pub fn showing(self, progress: Progress) -> Self {
        Self { progress, ..self }
    }

    /// From now on everything said is also appended to `path`, whatever the verbosity.
    ///
    /// # Errors
    /// [`RunError::File`].
    pub fn log_to(&self, path: &Path) -> Result<(), RunError> {
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(RunError::file("open", path))?;
        *lock(&self.log) = Some(file);
        Ok(())
    }

    /// How much is said.
    pub fn verbosity(&self) -> Verbosity {
        self.verbosity
    }

    /// Says something that helps to follow the run.
    pub fn say(&self, text: &str) {
        self.tell(text, Verbosity::Normal);
    }

    /// Says something that matters even to those who asked for quiet.
    pub fn warn(&self, text: &str) {
        self.tell(&format!("warning: {text}"), Verbosity::Quiet);
    }

    /// Says something for those who asked for more.
    pub fn detail(&self, text: &str) {
        self.tell(text, Verbosity::Verbose);
    }

    /// Takes over the terminal under [`Progress::Screen`] and shows `model` there, until [`Self::end_progress`] or until
    /// `interrupt` is asked for a stop, which its keys do too. Where that is not possible it says so, and progress comes in lines.
    pub fn open_screen(&self, interrupt: &Interrupt, model: impl FnOnce() -> Model) {
        if self.progress != Progress::Screen {
            return;
        }
        let style = Style::of_stderr(std::io::stderr().is_terminal() && std::io::stdin().is_terminal());
        if style == Style::Plain {
            return self.warn("--tui needs a terminal on stdin and stderr; progress comes in lines");
        }
        match Screen::open(model(), style, interrupt.clone()) {
            Ok(screen) => *lock(&self.display) = Some(Display::Screen(screen)),
            Err(error) => self.warn(&format!("this terminal cannot show --tui; progress comes in lines: {error}")),
        }
    }

    /// A row of `metrics.jsonl`: one JSON line on stdout, if JSON was asked for, and a point of every curve on a screen.
    pub fn figure(&self, row: &impl Serialize) {
        if let (Some(Display::Screen(screen)), Ok(row)) = (lock(&self.display).as_ref(), serde_json::to_value(row)) {
            screen.show(News::Row(row));
        }
        if self.figures == Figures::Json
            && let Ok(line) = serde_json::to_string(row)
        {
            print_line(&line);
        }
    }

    /// Shows where training stands: on the screen, in two lines that stay in place on a terminal, else in one line per call.
    /// Call it for logged steps; a terminal may be refreshed more often.
    pub fn progress(&self, snapshot: &Snapshot) {
        self.log_line(&snapshot.plain());
        if self.verbosity == Verbosity::Quiet {
            return;
        }
        lock(&self.display).get_or_insert_with(Display::lines).show(snapshot);
    }

    /// Ends the progress display; its last state stays visible.
    pub fn end_progress(&self) {
        if let Some(display) = lock(&self.display).take() {
            display.end();
        }
    }

    fn tell(&self, text: &str, from: Verbosity) {
        self.log_line(text);
        if self.verbosity < from {
            return;
        }
        match lock(&self.display).as_ref() {
            Some(display) => display.say(text),
            // A closed stderr is no reason to stop a run.
            None => {
                writeln!(std::io::stderr(), "{text}").ok();
            }
        }
    }

    fn log_line(&self, text: &str) {
        if let Some(file) = lock(&self.log).as_mut() {
            let stamped: String = text.lines().map(|line| format!("{} {line}\n", timestamp())).collect();
            file.write_all(stamped.as_bytes()).ok();
        }
    }
}

/// Prints a line of results on stdout; a closed stdout (`| head`) is not an error.
pub fn print_line(text: &str) {
    writeln!(std::io::stdout(), "{text}").ok();
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
