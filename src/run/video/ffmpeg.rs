//! Video files through the programs `ffmpeg` and `ffprobe`, frame by frame: no more than one is held.

use std::io::{BufReader, ErrorKind, Read as _, Write as _};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use serde_json::Value;

use super::FilmError;
use crate::run::RunError;

const FFMPEG: &str = "ffmpeg";
const FFPROBE: &str = "ffprobe";

/// What is known of a video before it is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct About {
    /// Frames per second.
    pub fps: Option<f64>,
    /// Frames, about.
    pub frames: Option<usize>,
}

/// Asks for a video's speed and length.
///
/// # Errors
/// If the program is missing, or the file is no video.
pub(super) fn about(path: &Path) -> Result<About, RunError> {
    let mut command = Command::new(FFPROBE);
    command.args(["-v", "error", "-select_streams", "v:0", "-of", "json", "-show_entries"]);
    command.arg("stream=avg_frame_rate,nb_frames,duration:format=duration").arg(path).stdin(Stdio::null());
    let output = command.output().map_err(|error| missing(error, path, FFPROBE))?;
    let told: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let stream = &told["streams"][0];
    if !output.status.success() || stream.is_null() {
        let said = said(&output.stderr, "it has no pictures");
        return Err(FilmError::Program { program: FFPROBE, action: "read", path: path.to_path_buf(), said }.into());
    }
    let number = |value: &Value| value.as_str().and_then(|text| text.parse::<f64>().ok());
    let rate = stream["avg_frame_rate"].as_str().and_then(|text| text.split_once('/'));
    let fps = rate.and_then(|(over, under)| Some(over.parse::<f64>().ok()? / under.parse::<f64>().ok()?));
    let fps = fps.filter(|fps| fps.is_finite() && *fps > 0.0);
    let seconds = number(&stream["duration"]).or_else(|| number(&told["format"]["duration"]));
    let counted = number(&stream["nb_frames"]).or_else(|| Some(seconds? * fps?));
    Ok(About { fps, frames: counted.map(|count| count.round() as usize) })
}

/// Decodes a video; `see` is given every frame as the bytes of a PPM file and may stop.
///
/// # Errors
/// If the program is missing or fails, or `see` does.
pub(super) fn decode(
    path: &Path,
    mut see: impl FnMut(Vec<u8>) -> Result<ControlFlow<()>, RunError>,
) -> Result<(), RunError> {
    let mut command = Command::new(FFMPEG);
    command.args(["-v", "error", "-nostdin", "-i"]).arg(path);
    command.args(["-map", "0:v:0", "-f", "image2pipe", "-c:v", "ppm", "-"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().map_err(|error| missing(error, path, FFMPEG))?;
    let talk = talk(&mut process);
    let reading = |error| RunError::file("read", path)(error);
    let mut pipe = process.stdout.take().map(BufReader::new);
    let mut stopped = false;
    while let Some(pipe) = pipe.as_mut().filter(|_| !stopped) {
        let Some(frame) = next_frame(pipe).map_err(reading)? else { break };
        stopped = see(frame)?.is_break();
    }
    // What was not wanted is not waited for.
    drop(pipe);
    if stopped {
        process.kill().ok();
    }
    let status = process.wait().map_err(reading)?;
    let told = talk.and_then(|thread| thread.join().ok()).unwrap_or_default();
    if status.success() || stopped {
        return Ok(());
    }
    let (path, said) = (path.to_path_buf(), said(&told, &status.to_string()));
    Err(FilmError::Program { program: FFMPEG, action: "read", path, said }.into())
}

/// The next PPM file of a stream, which begins with three lines: `P6`, width and height, 255.
fn next_frame(pipe: &mut impl std::io::BufRead) -> std::io::Result<Option<Vec<u8>>> {
    let mut frame = Vec::new();
    let mut lines = Vec::new();
    for _ in 0..3 {
        let begin = frame.len();
        if pipe.read_until(b'\n', &mut frame)? == 0 {
            return if begin == 0 { Ok(None) } else { Err(ErrorKind::UnexpectedEof.into()) };
        }
        lines.push(String::from_utf8_lossy(&frame[begin..]).trim().to_owned());
    }
    let sides = lines[1].split_once(' ').and_then(|(width, height)| {
        width.parse::<u64>().ok()?.checked_mul(height.parse::<u64>().ok()?)?.checked_mul(3)
    });
    let bytes = sides.filter(|_| lines[0] == "P6" && lines[2] == "255").ok_or(ErrorKind::InvalidData)?;
    let read = pipe.take(bytes).read_to_end(&mut frame)?;
    if read as u64 == bytes { Ok(Some(frame)) } else { Err(ErrorKind::UnexpectedEof.into()) }
}

/// A video file under way; nothing stands at its place before it is finished.
pub(super) struct Encoder {
    process: Child,
    input: Option<ChildStdin>,
    path: PathBuf,
    unfinished: PathBuf,
}

impl Encoder {
    /// Begins a video of frames of one size.
    ///
    /// # Errors
    /// If the program is missing.
    pub fn begin(path: &Path, size: (u32, u32), fps: f64) -> Result<Self, RunError> {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let unfinished = path.with_file_name(format!(".{}-{name}", std::process::id()));
        let mut command = Command::new(FFMPEG);
        command.args(["-y", "-v", "error", "-f", "rawvideo", "-pix_fmt", "rgb24"]);
        command.args(["-s", &format!("{}x{}", size.0, size.1), "-r", &fps.to_string(), "-i", "-"]);
        // Players want halved colours, and those even sides.
        command.args(["-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-pix_fmt", "yuv420p"]).arg(&unfinished);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let started = command.spawn();
        let mut process = started.map_err(|error| match error.kind() {
            ErrorKind::NotFound => FilmError::NoEncoder { path: path.to_path_buf() }.into(),
            _ => RunError::file("start", FFMPEG)(error),
        })?;
        let input = process.stdin.take();
        Ok(Self { process, input, path: path.to_path_buf(), unfinished })
    }

    /// Adds a frame.
    ///
    /// # Errors
    /// If the program has ended.
    pub fn push(&mut self, rgb: &[u8]) -> Result<(), RunError> {
        let Some(input) = self.input.as_mut() else { return Ok(()) };
        if input.write_all(rgb).is_ok() {
            return Ok(());
        }
        self.input = None;
        Err(self.failure())
    }

    /// Waits for the file and puts it in its place.
    ///
    /// # Errors
    /// If the program fails.
    pub fn finish(mut self) -> Result<(), RunError> {
        self.input = None;
        let status = self.process.wait().map_err(RunError::file("write", &self.path))?;
        if !status.success() {
            return Err(self.failure());
        }
        std::fs::rename(&self.unfinished, &self.path).map_err(RunError::file("write", &self.path))
    }

    fn failure(&mut self) -> RunError {
        let mut told = Vec::new();
        if let Some(mut pipe) = self.process.stderr.take() {
            pipe.read_to_end(&mut told).ok();
        }
        let said = said(&told, "it ended");
        FilmError::Program { program: FFMPEG, action: "write", path: self.path.clone(), said }.into()
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        self.input = None;
        self.process.kill().ok();
        self.process.wait().ok();
        std::fs::remove_file(&self.unfinished).ok();
    }
}

/// Reads what a program says, so that it never waits for it.
fn talk(process: &mut Child) -> Option<std::thread::JoinHandle<Vec<u8>>> {
    let mut pipe = process.stderr.take()?;
    Some(std::thread::spawn(move || {
        let mut told = Vec::new();
        pipe.read_to_end(&mut told).ok();
        told
    }))
}

fn missing(error: std::io::Error, path: &Path, program: &'static str) -> RunError {
    match error.kind() {
        ErrorKind::NotFound => FilmError::NoDecoder { path: path.to_path_buf(), program }.into(),
        _ => RunError::file("start", program)(error),
    }
}

/// The last line that a program said.
fn said(told: &[u8], otherwise: &str) -> String {
    let text = String::from_utf8_lossy(told);
    let last = text.lines().rev().map(str::trim).find(|line| !line.is_empty());
    last.unwrap_or(otherwise).to_owned()
}
