//! `dinoxide serve`: what the page relies on, asked over plain sockets of the real server.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a failed preparation is a failed test")]

mod running;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use running::{make_images, pretrain, run};
use serde_json::{Value, json};

/// Longest that an answer may take, on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(60);

struct Server {
    child: Child,
    address: String,
}

struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Server {
    fn start(folder: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dinoxide"));
        command.arg("serve").arg(folder).args(["--port", "0"]).stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut said = String::new();
        BufReader::new(child.stderr.take().unwrap()).read_line(&mut said).unwrap();
        let address = said.split("http://").nth(1).unwrap().trim().trim_end_matches('/').to_owned();
        Self { child, address }
    }

    fn connect(&self, method: &str, path: &str, host: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
        stream
    }

    fn ask(&self, method: &str, path: &str, host: &str) -> Answer {
        let mut bytes = Vec::new();
        self.connect(method, path, host).read_to_end(&mut bytes).unwrap();
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head, body: bytes[end + 4..].to_vec() }
    }

    fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &self.address)
    }

    fn json(&self, path: &str) -> Value {
        let answer = self.get(path);
        assert_eq!(answer.status, 200, "{path}: {}", String::from_utf8_lossy(&answer.body));
        serde_json::from_slice(&answer.body).unwrap()
    }

    fn events(&self) -> Events {
        let mut events = Events { lines: BufReader::new(self.connect("GET", "/api/events", &self.address)) };
        assert_eq!(events.next().0, "hello");
        events
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

struct Events {
    lines: BufReader<TcpStream>,
}

impl Events {
    /// Name and data of the next event.
    fn next(&mut self) -> (String, Value) {
        let (mut name, begun) = (String::new(), Instant::now());
        loop {
            // Signs of life come in between, so that no single read takes too long.
            assert!(begun.elapsed() < PATIENCE, "no event came");
            let mut line = String::new();
            assert!(self.lines.read_line(&mut line).unwrap() > 0, "the server closed the events");
            if let Some(event) = line.strip_prefix("event: ") {
                event.trim().clone_into(&mut name);
            }
            if let Some(data) = line.strip_prefix("data: ") {
                return (name, serde_json::from_str(data).unwrap());
            }
        }
    }

    /// The next change that says this.
    fn change(&mut self, says: impl Fn(&Value) -> bool) -> Value {
        loop {
            let (_, change) = self.next();
            if says(&change) {
                return change;
            }
        }
    }
}

/// A finished run, trained once for all tests of this file.
fn finished() -> &'static Path {
    static RUN: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = RUN.get_or_init(|| {
        let root = tempfile::tempdir().unwrap();
        let (data, path) = (root.path().join("data"), root.path().join("run"));
        make_images(&data, 4);
        run(pretrain(&data, &path, &["--val", &data.display().to_string()])).expect(0);
        (root, path)
    });
    path
}

/// A folder with a copy of the finished run at each of these places.
fn folder_with(places: &[&str]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for place in places {
        copy(finished(), &root.path().join(place));
    }
    root
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn append(run: &Path, text: &str) {
    let file = std::fs::OpenOptions::new().append(true).open(run.join("metrics.jsonl"));
    file.unwrap().write_all(text.as_bytes()).unwrap();
}

/// A row as a run writes it.
fn row(run: &Path, step: u64) -> Value {
    let mut row = running::json_lines(&run.join("metrics.jsonl")).into_iter().find(|row| row["loss"].is_f64()).unwrap();
    row["step"] = step.into();
    row
}

fn steps(rows: &Value) -> Vec<u64> {
    let steps = rows["rows"].as_array().unwrap().iter().filter(|row| row["eval"].is_null());
    steps.map(|row| row["step"].as_u64().unwrap()).collect()
}

#[test]
fn runs_are_listed_with_everything_that_the_page_shows() {
    let root = folder_with(&["plain", "deep/er/a b&c"]);
    let server = Server::start(root.path());
    let listed = server.json("/api/runs");
    let ids: Vec<&str> = listed["runs"].as_array().unwrap().iter().map(|run| run["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["plain"], "three folders down is too deep");
    let of_listed = &listed["runs"][0];
    assert_eq!((&of_listed["state"], &of_listed["step"]), (&json!("finished"), &json!(6)));
    assert!((of_listed["ln_k"].as_f64().unwrap() - 64_f64.ln()).abs() < 1e-12);
    let all = server.json("/api/runs/plain/metrics");
    assert_eq!(steps(&all), [1, 2, 3, 4, 5, 6]);
    assert!(all["rows"].as_array().unwrap().iter().any(|row| row["eval"] == true && row["knn_top1"].is_f64()));
    assert_eq!(steps(&server.json("/api/runs/plain/metrics?after=4")), [5, 6]);
    assert!(server.json("/api/runs/plain/log")["text"].as_str().unwrap().contains("step 6/6"));
    assert_eq!(server.json("/api/runs/plain/config")["values"]["head.out_dim"], "64");
    let gallery = server.json("/api/runs/plain/pictures");
    let kinds: Vec<&str> =
        gallery["kinds"].as_array().unwrap().iter().map(|kind| kind["kind"].as_str().unwrap()).collect();
    assert!(kinds.contains(&"augmentations") && kinds.contains(&"loss"), "{kinds:?}");
    // A film is a kind of its own, and does not hide the picture of that name.
    assert!(kinds.contains(&"map_film") && kinds.contains(&"map") && kinds.contains(&"attention_film"), "{kinds:?}");
    let latest = |kind: &str| {
        let kinds = gallery["kinds"].as_array().unwrap();
        kinds.iter().find(|found| found["kind"] == kind).unwrap()["latest"]["path"].clone()
    };
    assert_eq!(
        (latest("attention"), latest("attention_film")),
        (json!("pictures/attention.png"), json!("pictures/attention.gif"))
    );
    assert!(String::from_utf8(server.get("/runs/plain/report").body).unwrap().contains("<!doctype html>"));
}

#[test]
fn names_of_runs_are_escaped_and_found_again() {
    let root = folder_with(&["deep/a b&c"]);
    let server = Server::start(root.path());
    let id = server.json("/api/runs")["runs"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(id, "deep~2Fa~20b~26c");
    assert_eq!(steps(&server.json(&format!("/api/runs/{id}/metrics"))).len(), 6);
    let alone = Server::start(&root.path().join("deep/a b&c"));
    assert_eq!(alone.json("/api/runs")["runs"][0]["name"], "a b&c");
    assert_eq!(steps(&alone.json("/api/runs/~/metrics")).len(), 6);
}

#[test]
fn appended_rows_new_runs_and_deleted_ones_are_told() {
    let root = folder_with(&["a"]);
    let (server, run) = (Server::start(root.path()), root.path().join("a"));
    assert!(server.json("/api/runs")["runs"][0]["loss"].is_f64());
    let mut events = server.events();
    let text = row(&run, 77).to_string();
    // Half a line is no row yet.
    append(&run, &text[..20]);
    let change = events.change(|change| change["run"]["id"] == "a");
    assert_eq!(change["rows"], json!([]));
    append(&run, &format!("{}\n", &text[20..]));
    let change = events.change(|change| change["rows"] != json!([]));
    assert_eq!((&change["run"]["step"], &change["rows"][0]["step"]), (&json!(77), &json!(77)));
    assert_eq!(change["restarted"], false);
    // A run that goes back to a checkpoint rewrites its file.
    std::fs::write(run.join("metrics.jsonl"), format!("{}\n", row(&run, 2))).unwrap();
    assert_eq!(events.change(|change| change["restarted"] == true)["run"]["step"], 2);
    copy(finished(), &root.path().join("b"));
    events.change(|change| change["what"] == "run" && change["run"]["id"] == "b");
    std::fs::remove_dir_all(&run).unwrap();
    events.change(|change| *change == json!({ "what": "gone", "id": "a" }));
    assert_eq!(server.get("/api/runs/a/metrics").status, 404);
    assert_eq!(server.json("/api/runs")["runs"].as_array().unwrap().len(), 1);
}

#[test]
fn long_runs_are_thinned_and_keep_their_last_row() {
    let root = folder_with(&["long"]);
    let run = root.path().join("long");
    let mut row = row(&run, 7);
    let mut line = |step: u64| {
        row["step"] = step.into();
        format!("{row}\n")
    };
    let text: String = (7..=25_000).map(&mut line).collect();
    append(&run, &text);
    let server = Server::start(root.path());
    let answer = server.json("/api/runs/long/metrics");
    let steps = steps(&answer);
    assert!((900..=1000).contains(&steps.len()), "{}", steps.len());
    assert_eq!((steps.last(), &answer["every"]), (Some(&25_000), &json!(25)));
}

#[test]
fn broken_runs_do_not_hide_the_others() {
    let root = folder_with(&["good", "half", "odd"]);
    std::fs::write(root.path().join("odd/config.toml"), "not a [configuration").unwrap();
    std::fs::write(root.path().join("half/status.json"), "{\"state\":").unwrap();
    append(&root.path().join("half"), "{\"step\": 1");
    std::fs::write(root.path().join("good/train.log"), [b'a', 0xff, b'\n']).unwrap();
    let server = Server::start(root.path());
    let listed = server.json("/api/runs");
    let names: Vec<&Value> = listed["runs"].as_array().unwrap().iter().map(|run| &run["name"]).collect();
    assert_eq!(names, ["good", "half"]);
    assert_eq!(listed["unreadable"][0]["name"], "odd");
    assert!(listed["unreadable"][0]["reason"].as_str().unwrap().contains("config.toml"));
    assert_eq!(steps(&server.json("/api/runs/half/metrics")).len(), 6);
    assert_eq!(server.json("/api/runs/good/log")["text"], "a\u{fffd}\n");
    assert_eq!(server.get("/api/runs/odd/config").status, 404);
}

#[test]
fn nothing_outside_of_pictures_and_report_is_served() {
    let root = folder_with(&["runs/a"]);
    let (run, secret) = (root.path().join("runs/a"), root.path().join("secret.png"));
    std::fs::copy(run.join("pictures/augmentations.png"), &secret).unwrap();
    std::fs::create_dir(run.join("pictures/kind")).unwrap();
    symlink(&secret, run.join("pictures/link.png")).unwrap();
    symlink(&secret, run.join("pictures/kind/epoch-0001.png")).unwrap();
    symlink(root.path(), run.join("pictures/up")).unwrap();
    symlink(run.join("checkpoints"), run.join("pictures/weights")).unwrap();
    std::fs::copy(&secret, run.join("checkpoints/inside.png")).unwrap();
    std::fs::write(run.join("pictures/notes.txt"), "no picture").unwrap();
    let server = Server::start(&root.path().join("runs"));
    assert_eq!(server.get("/runs/a/pictures/augmentations.png").status, 200);
    let refused = [
        "/runs/a/pictures/../config.toml",
        "/runs/a/pictures/%2e%2e/config.toml",
        "/runs/a/pictures/..%2fconfig.toml",
        "/runs/a/pictures/%2e%2e%2f%2e%2e%2f%2e%2e%2fsecret.png",
        "/runs/a/pictures/../../../secret.png",
        "/runs/a/pictures//etc/hostname",
        "/runs/a/pictures/%2fetc%2fhostname",
        "/runs/a/pictures/link.png",
        "/runs/a/pictures/kind/epoch-0001.png",
        "/runs/a/pictures/up/secret.png",
        "/runs/a/pictures/weights/inside.png",
        "/runs/a/pictures/notes.txt",
        "/runs/a/pictures/kind",
        "/runs/../secret.png/report",
        "/runs/%2e%2e/report",
        "/runs/..~2F..~2Fetc/report",
        "/api/runs/../runs/x/log",
        "/runs/a/config.toml",
        "/secret.png",
    ];
    for path in refused {
        assert_eq!(server.get(path).status, 404, "{path}");
    }
    let gallery = String::from_utf8(server.get("/api/runs/a/pictures").body).unwrap();
    assert!(
        !gallery.contains("link") && !gallery.contains("pictures/kind/") && !gallery.contains("weights"),
        "{gallery}"
    );
    // Links in place of the run's own files are refused as well.
    for name in ["report.html", "train.log"] {
        std::fs::remove_file(run.join(name)).unwrap();
        symlink(&secret, run.join(name)).unwrap();
    }
    assert_eq!(server.get("/runs/a/report").status, 404);
    assert_eq!(server.json("/api/runs/a/log")["text"], "");
}

#[test]
fn only_get_is_answered_and_only_under_its_own_name() {
    let root = folder_with(&["a"]);
    let server = Server::start(root.path());
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        for path in ["/", "/api/runs", "/api/runs/a/config", "/runs/a/report"] {
            assert_eq!(server.ask(method, path, &server.address).status, 405, "{method} {path}");
        }
    }
    assert_eq!(server.ask("GET", "/api/runs", "evil.example").status, 403);
    assert_eq!(server.ask("GET", "/api/runs", "localhost:9999").status, 200);
    let page = server.get("/");
    assert!(page.head.contains("content-security-policy: default-src 'none'"), "{}", page.head);
    assert!(server.get("/runs/a/report").head.contains("sandbox"));
    assert!(!String::from_utf8(page.body).unwrap().contains("http"), "the page names no other place");
}

#[test]
fn nothing_is_written_and_an_empty_folder_is_no_error() {
    let root = folder_with(&["a"]);
    let files = || {
        let listed = Command::new("find").arg(root.path()).args(["-printf", "%p %s %T@ %C@\n"]).output().unwrap();
        String::from_utf8(listed.stdout).unwrap()
    };
    let before = files();
    let server = Server::start(root.path());
    let mut events = server.events();
    for path in ["/api/runs", "/api/runs/a/metrics", "/api/runs/a/pictures", "/runs/a/report"] {
        assert_eq!(server.get(path).status, 200);
    }
    assert_eq!(before, files());
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(Server::start(empty.path()).json("/api/runs")["runs"], json!([]));
    std::fs::remove_dir_all(root.path()).unwrap();
    let change = events.change(|change| change["what"] == "problem");
    assert!(change["problem"].as_str().unwrap().contains("cannot read"), "{change}");
}

#[test]
fn port_in_use_and_missing_folder_are_clear_errors() {
    let root = tempfile::tempdir().unwrap();
    let server = Server::start(root.path());
    let serve = |folder: &Path, port: &str| {
        let output =
            Command::new(env!("CARGO_BIN_EXE_dinoxide")).arg("serve").arg(folder).args(["--port", port]).output();
        let output = output.unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (_, port) = server.address.split_once(':').unwrap();
    let (code, said) = serve(root.path(), port);
    assert_eq!(code, Some(1));
    assert!(said.contains(&format!("port {port} of 127.0.0.1 is in use")) && said.contains("`--port`"), "{said}");
    let (code, said) = serve(&root.path().join("nothing"), "0");
    assert!(code == Some(1) && said.contains("cannot read") && said.contains("nothing"), "{said}");
}

#[test]
fn interrupt_ends_it_cleanly_with_a_page_open() {
    let root = folder_with(&["a"]);
    let mut server = Server::start(root.path());
    let _open = server.events();
    Command::new("sh").arg("-c").arg(format!("kill -INT {}", server.child.id())).status().unwrap();
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
}
