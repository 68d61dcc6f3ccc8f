//! `metrics.jsonl` as it grows: only what is new is read.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

use serde_json::Value;

/// Bytes before the place read up to that have to be the same, or the file is another one.
const OVERLAP: u64 = 256;
/// Points that a curve has at most; a screen shows no more.
pub(super) const POINTS: usize = 1000;

/// A place in a file of JSON lines up to which it was read.
#[derive(Debug, Clone, Default)]
pub(super) struct Follower {
    offset: u64,
    /// The bytes before the offset.
    overlap: Vec<u8>,
}

/// What a look at a file brought.
#[derive(Debug, Default)]
pub(super) struct News {
    /// Rows that were not there at the look before.
    pub rows: Vec<Value>,
    /// Whether what was read before is no longer true: the run went back to a checkpoint, or began anew.
    pub restarted: bool,
}

impl Follower {
    /// Reads what was added to the file at `path`. A line that is not finished is left for the next time, one that is no
    /// row is skipped, and a missing file is an empty one.
    pub fn read(&mut self, path: &Path) -> News {
        let Ok(mut file) = File::open(path) else { return self.restart() };
        let Ok(added) = self.added(&mut file) else { return News::default() };
        let (mut news, added) = match added {
            Some(added) => (News::default(), added),
            None => {
                let news = self.restart();
                match self.added(&mut file) {
                    Ok(Some(all)) => (news, all),
                    _ => return news,
                }
            }
        };
        let whole = added.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
        news.rows = rows(&added[..whole]);
        self.offset += whole as u64;
        self.overlap.extend_from_slice(&added[..whole]);
        let surplus = self.overlap.len().saturating_sub(OVERLAP as usize);
        self.overlap.drain(..surplus);
        news
    }

    /// What stands after the place read up to; `None` if something else stands before it than did.
    fn added(&self, file: &mut File) -> std::io::Result<Option<Vec<u8>>> {
        let known = self.overlap.len();
        file.seek(SeekFrom::Start(self.offset - known as u64))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        if !bytes.starts_with(&self.overlap) {
            return Ok(None);
        }
        bytes.drain(..known);
        Ok(Some(bytes))
    }

    fn restart(&mut self) -> News {
        let restarted = self.offset > 0;
        *self = Self::default();
        News { rows: Vec::new(), restarted }
    }
}

/// The rows in the lines of a file; what has no step is none.
fn rows(bytes: &[u8]) -> Vec<Value> {
    let parsed = bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<Value>(line).ok());
    parsed.filter(|row| row.get("step").is_some_and(Value::is_u64)).collect()
}

/// Rows in the order of the file, and how many logged steps stand for each that is shown.
#[derive(Debug)]
pub(super) struct Thinned {
    pub rows: Vec<Value>,
    pub every: usize,
}

/// The rows of a file, or those after a step, thinned to [`POINTS`] of each kind.
pub(super) fn thinned(path: &Path, after: Option<u64>) -> Thinned {
    let step = |row: &Value| row.get("step").and_then(Value::as_u64);
    let all = Follower::default().read(path).rows.into_iter().filter(|row| step(row) > after);
    let (evaluations, steps): (Vec<Value>, Vec<Value>) = all.partition(|row| row.get("eval").is_some());
    let every = steps.len().div_ceil(POINTS).max(1);
    let mut rows = thin(steps, every);
    let rare = evaluations.len().div_ceil(POINTS).max(1);
    rows.extend(thin(evaluations, rare));
    // Stable: an evaluation stands after the step at which it was made.
    rows.sort_by_key(step);
    Thinned { rows, every }
}

/// Every `every`th row, counted so that the last one is among them.
fn thin(rows: Vec<Value>, every: usize) -> Vec<Value> {
    let first = (rows.len() + every - 1) % every;
    rows.into_iter().skip(first).step_by(every).collect()
}
