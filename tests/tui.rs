//! The full-screen view says what it should at every size, and leaves the terminal as it was.
#![expect(clippy::unwrap_used, reason = "a failed preparation is a failed test")]

#[cfg(unix)]
mod running;

use std::path::Path;
use std::time::Duration;

use dinoxide::run::health::Finding;
use dinoxide::run::progress::{Snapshot, Style};
use dinoxide::run::tui::{Model, News, draw};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::style::Color;
use serde_json::json;

const STEPS_PER_EPOCH: usize = 100;

fn snapshot() -> Snapshot {
    Snapshot {
        epoch: 37,
        epochs: 240,
        step: 3620,
        total_steps: 24_000,
        loss: 6.412,
        loss_before: Some(6.5),
        images_per_second: 612.0,
        data_wait: 0.02,
        eta: Some(Duration::from_secs(30_060)),
        entropy: Some(5.9),
        prototypes: Some(2048),
        kl: Some(0.48),
        grad_norm: 1.8,
        findings: Vec::new(),
        rank: Some(12.5),
        knn: Some((61.3, 30)),
        memory_bytes: Some(1 << 30),
    }
}

/// A run with `snapshot`, its curves, and a few lines of talk.
fn model(snapshot: Snapshot) -> Model {
    let mut model = Model::new(Path::new("runs/photos-vitt16-1"), STEPS_PER_EPOCH, snapshot.prototypes);
    for step in (10..=snapshot.step).step_by(10) {
        let falling = 1.0 / (1.0 + step as f64 / 500.0);
        let (loss, entropy) = (6.0 + falling, 5.0 + falling);
        let row = json!({ "step": step, "loss": loss, "entropy": entropy, "kl": loss - entropy, "lr": 1e-3 * falling });
        model.hear(News::Row(row));
    }
    for step in (0..=snapshot.step).step_by(10 * STEPS_PER_EPOCH) {
        let knn = snapshot.knn.map(|(top1, _)| top1 - 10.0 / (1.0 + step as f64));
        model.hear(News::Row(json!({ "eval": true, "step": step, "knn_top1": knn, "rank": 10.0 })));
    }
    model.hear(News::Said("epoch 30: k-NN 61.30 % teacher, 60.10 % student (k 20)".to_owned()));
    model.hear(News::Said("warning: waiting for images takes 31 % of the time".to_owned()));
    model.hear(News::Progress(Box::new(snapshot)));
    model
}

fn drawn(model: &Model, (width, height): (u16, u16), style: Style) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, model, style)).unwrap();
    terminal.backend().buffer().clone()
}

fn text(model: &Model, size: (u16, u16)) -> String {
    let buffer = drawn(model, size, Style::Colour);
    let lines = buffer.content().chunks(usize::from(size.0));
    lines.map(|line| line.iter().map(|cell| cell.symbol()).collect::<String>().trim_end().to_owned() + "\n").collect()
}

#[track_caller]
fn assert_says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "`{part}` is missing in\n{text}");
    }
}

#[track_caller]
fn assert_omits(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(!text.contains(part), "`{part}` is not wanted in\n{text}");
    }
}

#[test]
fn a_large_terminal_shows_everything() {
    let text = text(&model(snapshot()), (120, 40));
    assert_says(&text, &["runs/photos-vitt16-1", "epoch  37/240", "step 3 620/24 000", "eta 8 h 21 min", "━━━"]);
    assert_says(&text, &["loss 6.412 ↓", "612 img/s", "wait 2 %", "|g| 1.80", "mem 1.0 GiB"]);
    assert_says(&text, &["health ok", "rank 12.5", "k-NN 61.3 % (ep 30)", "ln 2048 = 7.62"]);
    assert_says(&text, &["teacher entropy", "KL", "learning rate", "best 61.3 %", "epoch 36.2"]);
    assert_says(&text, &["epoch 30: k-NN 61.30 % teacher", "warning: waiting for images", "q  save and stop"]);
    assert_omits(&text, &["Tab", "found"]);
}

#[test]
fn tab_shows_the_charts_that_have_no_room() {
    let mut model = model(snapshot());
    let first = text(&model, (80, 24));
    assert_says(&first, &["ln 2048 = 7.62", "best 61.3 %", "Tab  other charts"]);
    assert_omits(&first, &["teacher entropy", "learning rate"]);
    model.page += 1;
    let second = text(&model, (80, 24));
    assert_says(&second, &["teacher entropy", "KL"]);
    assert_omits(&second, &["best 61.3 %"]);
    model.page += 2;
    assert_eq!(text(&model, (80, 24)), first);
}

#[test]
fn what_was_found_comes_with_what_to_do() {
    let ill = model(Snapshot { findings: vec![Finding::UniformCollapse, Finding::ImagesAlike], ..snapshot() });
    let text = text(&ill, (80, 24));
    assert_says(&text, &["health found: uniform collapse, images alike", "→ lower `dino.teacher_temp` (0.02 to 0.04"]);
    assert_says(&text, &["→ look whether the images differ"]);
    assert_omits(&text, &["health ok"]);
    let red = |style| drawn(&ill, (80, 24), style).content().iter().any(|cell| cell.fg == Color::Red);
    assert!(red(Style::Colour) && !red(Style::Terminal));
}

#[test]
fn no_colour_is_used_where_none_is_wanted() {
    let buffer = drawn(&model(snapshot()), (120, 40), Style::Terminal);
    assert!(buffer.content().iter().all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset));
}

#[test]
fn without_labels_the_rank_takes_the_place_of_knn() {
    let text = text(&model(Snapshot { knn: None, ..snapshot() }), (80, 24));
    assert_says(&text, &["rank  ", "10.0"]);
    assert_omits(&text, &["k-NN 61.3 % (ep", "best"]);
}

#[test]
fn before_the_first_step_there_is_nothing_yet() {
    let model = Model::new(Path::new("runs/new"), STEPS_PER_EPOCH, Some(2048));
    assert_says(&text(&model, (80, 24)), &["runs/new", "waiting for the first figures", "nothing yet"]);
}

#[test]
fn a_tiny_terminal_shows_the_figures_and_no_size_panics() {
    let ill = model(Snapshot { findings: vec![Finding::Unstable], ..snapshot() });
    let tiny = text(&ill, (40, 10));
    assert_says(&tiny, &["epoch  37/240", "eta 8 h 21 min", "health found: unstable", "→ lower `optim.lr`"]);
    assert_says(&tiny, &["images takes 31 %\nof the time", "q  save and stop"]);
    for size in [(1, 1), (2, 3), (5, 40), (300, 2), (17, 9), (33, 13), (34, 16), (500, 200)] {
        drawn(&ill, size, Style::Colour);
    }
}

#[test]
fn older_talk_stays_in_view_while_new_comes() {
    let mut model = model(snapshot());
    (0..100).for_each(|number| model.hear(News::Said(format!("line {number}"))));
    assert_says(&text(&model, (80, 24)), &["line 99"]);
    model.scroll_back(50);
    assert_says(&text(&model, (80, 24)), &["line 49", "50 newer"]);
    model.hear(News::Said("one more\nand another".to_owned()));
    let scrolled = text(&model, (80, 24));
    assert_says(&scrolled, &["line 49", "52 newer"]);
    assert_omits(&scrolled, &["line 50"]);
    model.scroll_on(1000);
    assert_says(&text(&model, (80, 24)), &["and another"]);
}

#[test]
fn long_talk_is_broken_between_words() {
    let mut model = model(snapshot());
    model.hear(News::Said(format!("report: {}/report.html and more words", "long-folder-name".repeat(4))));
    assert_says(&text(&model, (40, 14)), &["report:\nlong-folder", "-name/report.html and\nmore words"]);
}

#[test]
fn a_long_run_keeps_its_shape_in_few_points() {
    let mut model = Model::new(Path::new("runs/long"), STEPS_PER_EPOCH, Some(2048));
    (1..=100_000).for_each(|step| model.curves.add(&json!({ "step": step, "loss": step as f64 })));
    let points = model.curves.loss.points();
    assert!((1000..2048).contains(&points.len()), "{} points", points.len());
    assert!(points.iter().all(|(epoch, value)| (epoch * STEPS_PER_EPOCH as f64 - value).abs() < 1e-6));
    assert_eq!(model.curves.loss.last(), Some((1000.0, 100_000.0)));
    model.curves.add(&json!({ "step": 100_001, "loss": null }));
    assert_eq!(model.curves.loss.last(), Some((1000.0, 100_000.0)), "what is not finite is left out");
}

#[cfg(unix)]
mod in_a_terminal {
    use std::fs::File;
    use std::io::{Read as _, Write as _};
    use std::os::unix::ffi::OsStrExt as _;
    use std::path::{Path, PathBuf};
    use std::process::{Child, Command};
    use std::sync::{Arc, Mutex};
    use std::time::{Duration, Instant};

    use dinoxide::run::console::{Console, Figures, Progress, Verbosity};
    use dinoxide::run::interrupt::Interrupt;
    use dinoxide::run::tui::Model;
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

    use super::running::{make_images, pretrain, rows, run};

    /// Asks [`panics_if_it_is_asked_to`].
    const PANIC: &str = "DINOXIDE_TEST_PANIC";
    const TEST_FAILED: i32 = 101;
    const PATIENCE: Duration = Duration::from_secs(240);
    const ENTER: &str = "\u{1b}[?1049h";
    const LEAVE: &str = "\u{1b}[?1049l";

    /// A run in a terminal of its own.
    struct InTerminal {
        child: Child,
        keys: File,
        terminal: File,
        screen: Arc<Mutex<Vec<u8>>>,
    }

    impl InTerminal {
        fn start(mut command: Command) -> Self {
            let keys = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
            grantpt(&keys).unwrap();
            unlockpt(&keys).unwrap();
            tcsetwinsize(&keys, Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
            let name = PathBuf::from(std::ffi::OsStr::from_bytes(ptsname(&keys, Vec::new()).unwrap().as_bytes()));
            let terminal = File::options().read(true).write(true).open(name).unwrap();
            let end = || terminal.try_clone().unwrap();
            command.env("TERM", "xterm-256color").env_remove("NO_COLOR");
            let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
            let keys = File::from(keys);
            let (mut output, screen) = (keys.try_clone().unwrap(), Arc::<Mutex<Vec<u8>>>::default());
            let seen = Arc::clone(&screen);
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(count) = output.read(&mut buffer) {
                    seen.lock().unwrap().extend(&buffer[..count]);
                }
            });
            Self { child, keys, terminal, screen }
        }

        fn text(&self) -> String {
            String::from_utf8_lossy(&self.screen.lock().unwrap()).into_owned()
        }

        fn wait_until(&mut self, what: impl Fn(&Self) -> bool) {
            let begun = Instant::now();
            while !what(self) && begun.elapsed() < PATIENCE && self.child.try_wait().unwrap().is_none() {
                std::thread::sleep(Duration::from_millis(5));
            }
        }

        fn press(&mut self, key: &[u8]) {
            self.keys.write_all(key).unwrap();
        }

        fn signal(&self, name: &str) {
            Command::new("sh").arg("-c").arg(format!("kill -{name} {}", self.child.id())).status().unwrap();
        }

        /// Waits for the end; asserts its exit code and that the terminal is as it was. Returns what is on the normal screen.
        #[track_caller]
        fn end(self, code: i32) -> String {
            let text = self.end_with(code);
            assert!(!text.contains("panicked"), "{text}");
            text
        }

        /// The same where a panic is expected.
        #[track_caller]
        fn end_with(mut self, code: i32) -> String {
            self.wait_until(|_| false);
            let status = self.child.try_wait().unwrap();
            if status.is_none() {
                self.child.kill().unwrap();
            }
            // What was written last may still be on its way.
            let marker = "that was all";
            writeln!(self.terminal, "{marker}").unwrap();
            let begun = Instant::now();
            while !self.text().contains(marker) && begun.elapsed() < PATIENCE {
                std::thread::sleep(Duration::from_millis(5));
            }
            let text = self.text();
            assert_eq!(status.and_then(|status| status.code()), Some(code), "{text}");
            assert_eq!(text.matches(ENTER).count(), text.matches(LEAVE).count(), "{text}");
            let modes = tcgetattr(&self.terminal).unwrap().local_modes;
            assert!(modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG), "raw mode is left");
            let (before, _) = text.split_once(ENTER).unwrap();
            let (_, after) = text.rsplit_once(LEAVE).unwrap();
            format!("{before}{after}")
        }
    }

    fn command(data: &Path, out: &Path) -> Command {
        pretrain(data, out, &["--tui", "--eval-every", "1", "--set", "run.epochs=400"])
    }

    /// A run that has drawn its figures.
    fn under_way(data: &Path, out: &Path, step: u64) -> InTerminal {
        let mut running = InTerminal::start(command(data, out));
        running.wait_until(|running| running.text().contains("health"));
        running.wait_until(|_| rows(out).iter().any(|row| row["step"].as_u64() >= Some(step)));
        running
    }

    #[track_caller]
    fn assert_says_how_to_go_on(text: &str, out: &Path) {
        let resume = format!("resume with: dinoxide pretrain -c {}/config.toml", out.display());
        super::assert_says(
            text,
            &["health ok", "finishing the step, saving…", "saved after step", &resume, "report: "],
        );
    }

    #[test]
    fn stopped_by_key_and_signals_and_continued() {
        let folder = tempfile::tempdir().unwrap();
        let (data, out) = (folder.path().join("data"), folder.path().join("run"));
        make_images(&data, 6);
        let mut running = under_way(&data, &out, 2);
        assert!(running.text().contains(ENTER));
        running.press(b"q");
        let said = running.end(130);
        super::assert_says(&said, &["plan", "epoch 0: rank"]);
        assert_says_how_to_go_on(&said, &out);
        let steps = rows(&out).len() as u64;
        let mut running = under_way(&data, &out, steps + 2);
        running.press(b"\x03");
        assert_says_how_to_go_on(&running.end(130), &out);
        let running = under_way(&data, &out, steps + 4);
        running.signal("TERM");
        assert_says_how_to_go_on(&running.end(75), &out);
        let mut shorter = pretrain(&data, &out, &["--tui"]);
        shorter.arg("--overwrite");
        super::assert_says(&InTerminal::start(shorter).end(0), &["epoch 3/3", "done in", "report: "]);
    }

    #[test]
    fn the_beginning_of_a_key_holds_nothing_up() {
        let folder = tempfile::tempdir().unwrap();
        let (data, out) = (folder.path().join("data"), folder.path().join("run"));
        make_images(&data, 6);
        let mut running = under_way(&data, &out, 2);
        running.press(b"\x1b[");
        running.signal("TERM");
        let text = running.end(75);
        super::assert_says(&text, &["saved after step"]);
    }

    #[test]
    fn an_error_is_seen_after_leaving() {
        let folder = tempfile::tempdir().unwrap();
        let (data, out) = (folder.path().join("data"), folder.path().join("run"));
        make_images(&data, 6);
        let mut running = under_way(&data, &out, 2);
        let (checkpoints, aside) = (out.join("checkpoints"), folder.path().join("aside"));
        let put_file_there = || std::fs::write(&checkpoints, "no folder");
        // The run may make the folder anew in between.
        while std::fs::rename(&checkpoints, &aside).is_ok() && put_file_there().is_err() {
            std::fs::remove_dir_all(&aside).unwrap();
        }
        running.wait_until(|running| running.text().contains(LEAVE));
        super::assert_says(&running.end(1), &["error: "]);
    }

    #[test]
    fn a_second_ctrl_c_ends_the_run_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let (data, out) = (folder.path().join("data"), folder.path().join("run"));
        make_images(&data, 6);
        let mut running = under_way(&data, &out, 1);
        running.press(b"\x03");
        running.wait_until(|running| running.text().contains(LEAVE));
        running.signal("INT");
        running.end(130);
    }

    /// Not a test by itself: what [`a_panic_is_seen_after_leaving`] runs in a terminal.
    #[test]
    fn panics_if_it_is_asked_to() {
        if std::env::var_os(PANIC).is_some() {
            let console = Console::new(Verbosity::Normal, Figures::Talk).showing(Progress::Screen);
            console.open_screen(&Interrupt::default(), || Model::new("runs/new".as_ref(), 1, Some(2)));
            console.say("something to remember");
            panic!("on purpose");
        }
    }

    #[test]
    fn a_panic_is_seen_after_leaving() {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "in_a_terminal::panics_if_it_is_asked_to", "--nocapture"]).env(PANIC, "1");
        let after = InTerminal::start(command).end_with(TEST_FAILED);
        super::assert_says(&after, &["something to remember", "panicked", "on purpose"]);
    }

    #[test]
    fn without_a_terminal_progress_comes_in_lines() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        make_images(&data, 6);
        let said = run(pretrain(&data, &folder.path().join("run"), &["--tui"])).expect(0);
        let said = said.saying(&["--tui needs a terminal on stdin and stderr; progress comes in lines", "done in"]);
        assert!(!said.text.contains('\u{1b}'), "{}", said.text);
    }
}
