//! Event files for TensorBoard: the figures of `metrics.jsonl` and pictures, in the form that TensorFlow's summary writer gives them.
//!
//! A file is a row of records: length, its checksum, an `Event` in protocol buffers, its checksum. A process that continues a run
//! begins a file of its own with the step from which on what earlier files hold does not count; TensorBoard leaves that out.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message;
use serde::Serialize;
use serde_json::Value as Json;

use super::{RunError, machine};

/// What the names of event files begin with; TensorBoard looks for it.
pub const EVENT_FILES: &str = "events.out.tfevents";
/// Form of the events that this is.
const VERSION: &str = "brain.Event:2";
/// `SessionLog.START`: events of this step and later ones in earlier files do not count.
const START: i32 = 1;
/// What TensorFlow adds to a checksum so that one of data with checksums in it is still a good one.
const MASK: u32 = 0xa282_ead8;
const MASK_TURN: u32 = 15;
/// `Summary.Image.colorspace` of red, green and blue.
const RGB: i32 = 3;

/// `tensorflow.Event`, as far as it is used.
#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
    #[prost(message, optional, tag = "7")]
    session_log: Option<SessionLog>,
}

/// `tensorflow.SessionLog`.
#[derive(Clone, PartialEq, Message)]
struct SessionLog {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// `tensorflow.Summary`.
#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    values: Vec<Value>,
}

/// `tensorflow.Summary.Value`.
#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
    #[prost(message, optional, tag = "4")]
    image: Option<Image>,
}

/// `tensorflow.Summary.Image`.
#[derive(Clone, PartialEq, Message)]
struct Image {
    #[prost(int32, tag = "1")]
    height: i32,
    #[prost(int32, tag = "2")]
    width: i32,
    #[prost(int32, tag = "3")]
    colorspace: i32,
    #[prost(bytes = "vec", tag = "4")]
    encoded: Vec<u8>,
}

/// An event file of this process.
#[derive(Debug)]
pub struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// Begins a file in `folder` for the steps after `step`.
    ///
    /// # Errors
    /// [`RunError::File`].
    pub fn create(folder: &Path, step: usize) -> Result<Self, RunError> {
        let seconds = now() as u64;
        let (host, pid) = (machine::host(), std::process::id());
        let path = folder.join(format!("{EVENT_FILES}.{seconds:010}.{host}.{pid}.0"));
        let file = OpenOptions::new().create(true).append(true).open(&path).map_err(RunError::file("open", &path))?;
        let mut events = Self { path, file };
        events.append(Event { file_version: Some(VERSION.to_owned()), ..Event::default() })?;
        let session_log = Some(SessionLog { status: START });
        events.append(Event { step: step as i64 + 1, session_log, ..Event::default() })?;
        Ok(events)
    }

    /// Writes every number of a row under `group/name`.
    ///
    /// # Errors
    /// [`RunError::File`].
    pub fn scalars(&mut self, group: &str, step: usize, row: &impl Serialize) -> Result<(), RunError> {
        let Ok(Json::Object(row)) = serde_json::to_value(row) else { return Ok(()) };
        let numbers = row.iter().filter(|(name, _)| *name != "step").filter_map(|(name, value)| {
            let simple_value = Some(value.as_f64()? as f32);
            Some(Value { tag: format!("{group}/{name}"), simple_value, image: None })
        });
        self.summary(step, numbers.collect())
    }

    /// Writes a picture of `(width, height)` pixels, a PNG or JPEG file, under `name`.
    ///
    /// # Errors
    /// [`RunError::File`].
    pub fn picture(&mut self, name: &str, step: usize, size: (u32, u32), encoded: Vec<u8>) -> Result<(), RunError> {
        let image = Image { height: size.1 as i32, width: size.0 as i32, colorspace: RGB, encoded };
        self.summary(step, vec![Value { tag: name.to_owned(), simple_value: None, image: Some(image) }])
    }

    fn summary(&mut self, step: usize, values: Vec<Value>) -> Result<(), RunError> {
        self.append(Event { step: step as i64, summary: Some(Summary { values }), ..Event::default() })
    }

    fn append(&mut self, event: Event) -> Result<(), RunError> {
        let bytes = Event { wall_time: now(), ..event }.encode_to_vec();
        let length = (bytes.len() as u64).to_le_bytes();
        let mut record = Vec::with_capacity(bytes.len() + 16);
        record.extend(length);
        record.extend(checksum(&length).to_le_bytes());
        record.extend(&bytes);
        record.extend(checksum(&bytes).to_le_bytes());
        self.file.write_all(&record).map_err(RunError::file("write", &self.path))
    }
}

/// The masked CRC-32C of TensorFlow's records.
fn checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(MASK_TURN).wrapping_add(MASK)
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
