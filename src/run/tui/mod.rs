//! The full-screen view of a run: `dinoxide pretrain --tui`.
//!
//! One thread owns the terminal and the keys, so that a long step delays neither and a slow terminal does not delay training. When the
//! run ends or a stop is asked for, it gives the terminal back and prints what was said meanwhile, as if it had never been away.

mod draw;
mod model;

pub use draw::draw;
pub use model::{Curve, Curves, Model, News};

use std::io::{self, BufWriter, Stderr, Write as _};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SendError, Sender, TryRecvError, channel};
use std::sync::{Mutex, Once, PoisonError, TryLockError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossterm::cursor::{Hide, Show};
use crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use crossterm::{execute, queue};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;

use super::interrupt::Interrupt;
use super::progress::Style;

/// Longest wait for a key before looking for news and signals. A second SIGINT that comes sooner after the first ends the process before
/// the terminal is given back; to hold it off would leave no way out of a terminal that hangs.
const TICK: Duration = Duration::from_millis(50);
/// Shortest time between two frames, but for keys.
const BETWEEN_FRAMES: Duration = Duration::from_millis(250);
/// Longest wait for the thread at the end.
const AT_MOST: Duration = Duration::from_secs(2);
/// Lines of talk that a page key passes.
const PAGE_LINES: usize = 10;
/// How often, and how long, a thread that panics waits for a frame to be finished.
const PATIENCE: (usize, Duration) = (20, Duration::from_millis(10));

/// Whether the terminal is ours. Locked while a frame is written, so that it is given back between two frames.
static TERMINAL_IS_OURS: Mutex<bool> = Mutex::new(false);

/// The full-screen view; dropping it gives the terminal back.
#[derive(Debug)]
pub(super) struct Screen {
    /// `None` once closed.
    news: Option<Sender<News>>,
    thread: Option<JoinHandle<()>>,
    /// Hangs up when the thread has ended.
    ended: Receiver<()>,
}

impl Screen {
    /// Takes over the terminal on stderr and stdin. Keys that ask for a stop go to `interrupt`.
    ///
    /// # Errors
    /// If the terminal refuses.
    pub(super) fn open(model: Model, style: Style, interrupt: Interrupt) -> io::Result<Self> {
        give_back_before_panics();
        let (news, receiver) = channel();
        let terminal = take_terminal().inspect_err(|_| give_terminal_back())?;
        let (lives, ended) = channel();
        let watch = Watch { terminal, model, style, news: receiver, interrupt, _lives: lives };
        let thread = std::thread::Builder::new().name("screen".to_owned()).spawn(|| watch.run());
        let thread = thread.inspect_err(|_| give_terminal_back())?;
        Ok(Self { news: Some(news), thread: Some(thread), ended })
    }

    /// Shows what is new.
    pub(super) fn show(&self, news: News) {
        let Some(sender) = &self.news else { return };
        // If the thread is gone, what is said must not be.
        if let Err(SendError(News::Said(text))) = sender.send(news) {
            print(&text);
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // The thread ends when nobody can send it anything.
        self.news = None;
        let Some(thread) = self.thread.take() else { return };
        match self.ended.recv_timeout(AT_MOST) {
            // It waits for the rest of a key, or for a terminal that hangs: the run does not.
            Err(RecvTimeoutError::Timeout) => give_terminal_back(),
            // Its panic has been reported, and is no reason to stop a run.
            _ => drop(thread.join()),
        }
    }
}

/// The thread that owns the terminal.
struct Watch {
    terminal: Terminal<CrosstermBackend<BufWriter<Stderr>>>,
    model: Model,
    style: Style,
    news: Receiver<News>,
    interrupt: Interrupt,
    _lives: Sender<()>,
}

impl Watch {
    fn run(mut self) {
        let shown = self.show();
        give_terminal_back();
        self.model.log.iter().for_each(|line| print(line));
        if let Some(snapshot) = &self.model.snapshot {
            print(&format!("{}\n{}", snapshot.headline(self.style), snapshot.health()));
        }
        match shown {
            Err(error) => print(&format!("warning: the terminal cannot show the run any longer: {error}")),
            // Ctrl-C is a signal again.
            Ok(()) if self.interrupt.requested() => print("stopping after this step; Ctrl-C ends the run at once"),
            Ok(()) => {}
        }
        for news in &self.news {
            if let News::Said(text) = news {
                print(&text);
            }
        }
    }

    /// Draws and listens until the run ends, a stop is asked for or the terminal is no longer ours.
    fn show(&mut self) -> io::Result<()> {
        let mut stale = true;
        let mut next_frame = Instant::now();
        while !self.interrupt.requested() {
            if stale && Instant::now() >= next_frame {
                if !self.draw()? {
                    return Ok(());
                }
                (stale, next_frame) = (false, Instant::now() + BETWEEN_FRAMES);
            }
            if event::poll(TICK)? {
                self.react(&event::read()?);
                (stale, next_frame) = (true, Instant::now());
            }
            loop {
                match self.news.try_recv() {
                    Ok(news) => self.model.hear(news),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return Ok(()),
                }
                stale = true;
            }
        }
        Ok(())
    }

    /// Draws a frame; false if the terminal is no longer ours.
    fn draw(&mut self) -> io::Result<bool> {
        let ours = TERMINAL_IS_OURS.lock().unwrap_or_else(PoisonError::into_inner);
        if *ours {
            self.terminal.draw(|frame| draw(frame, &self.model, self.style))?;
        }
        Ok(*ours)
    }

    fn react(&mut self, event: &Event) {
        let Event::Key(KeyEvent { code, modifiers, kind: KeyEventKind::Press | KeyEventKind::Repeat, .. }) = event
        else {
            return;
        };
        match code {
            KeyCode::Char('q') => self.interrupt.request(),
            KeyCode::Char('c') if modifiers.contains(KeyModifiers::CONTROL) => self.interrupt.request(),
            KeyCode::Tab => self.model.page += 1,
            KeyCode::Up | KeyCode::Char('k') => self.model.scroll_back(1),
            KeyCode::Down | KeyCode::Char('j') => self.model.scroll_on(1),
            KeyCode::PageUp => self.model.scroll_back(PAGE_LINES),
            KeyCode::PageDown => self.model.scroll_on(PAGE_LINES),
            KeyCode::Home => self.model.scroll_back(self.model.log.len()),
            KeyCode::End => self.model.scroll_on(self.model.log.len()),
            _ => {}
        }
    }
}

/// A closed stderr is no reason to stop a run.
fn print(text: &str) {
    writeln!(io::stderr(), "{text}").ok();
}

fn take_terminal() -> io::Result<Terminal<CrosstermBackend<BufWriter<Stderr>>>> {
    let mut ours = TERMINAL_IS_OURS.lock().unwrap_or_else(PoisonError::into_inner);
    *ours = true;
    enable_raw_mode()?;
    // Where there is no alternate screen, on an empty one.
    execute!(io::stderr(), EnterAlternateScreen, Clear(ClearType::All), Hide)?;
    Terminal::new(CrosstermBackend::new(BufWriter::new(io::stderr())))
}

/// Leaves the terminal as it was found; does nothing the second time.
fn give_terminal_back() {
    let (times, pause) = PATIENCE;
    let mut ours = None;
    for _ in 0..times {
        match TERMINAL_IS_OURS.try_lock() {
            Ok(guard) => ours = Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => ours = Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => std::thread::sleep(pause),
        }
        if ours.is_some() {
            break;
        }
    }
    // Still locked: this thread panics while it draws, or the terminal hangs. Then a torn frame is the smaller evil.
    if ours.as_deref().is_none_or(|ours| *ours) {
        let mut stderr = io::stderr();
        // First: a signal that ends the process in between must not leave a terminal that hides what is typed.
        disable_raw_mode().ok();
        queue!(stderr, LeaveAlternateScreen, Show).and_then(|()| stderr.flush()).ok();
    }
    if let Some(ours) = &mut ours {
        **ours = false;
    }
}

/// From now on a panic is reported on a terminal that can show it.
fn give_back_before_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            give_terminal_back();
            report(panic);
        }));
    });
}
