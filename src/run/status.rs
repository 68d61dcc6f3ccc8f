//! `status.json`: where a run stands, for whoever watches it from outside.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::RunError;
use super::health::Finding;
use crate::checkpoint::atomic::write_atomic;

/// What a run is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Training.
    Running,
    /// Stopped after saving, by a signal or because it had collapsed.
    Interrupted,
    /// Ended with an error.
    Failed,
    /// Done.
    Finished,
}

/// Where a run stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// What it is doing.
    pub state: State,
    /// Steps done.
    pub step: usize,
    /// Steps of the whole run.
    pub total_steps: usize,
    /// Epochs done.
    pub epoch: usize,
    /// Optimizer steps in an epoch; 0 if not known.
    #[serde(default)]
    pub steps_per_epoch: usize,
    /// Estimated time to the end, seconds.
    pub eta_seconds: Option<f64>,
    /// Last sign of life, UTC.
    pub heartbeat: String,
    /// Process.
    pub pid: u32,
    /// What was found to go wrong so far.
    #[serde(default)]
    pub health: Vec<Finding>,
}

impl Status {
    /// A status of this process at this moment, without an estimate of the end.
    pub fn now(state: State, step: usize, total_steps: usize, steps_per_epoch: usize) -> Self {
        let epoch = step / steps_per_epoch.max(1);
        let (heartbeat, pid) = (heartbeat(), std::process::id());
        Self { state, step, total_steps, epoch, steps_per_epoch, eta_seconds: None, heartbeat, pid, health: Vec::new() }
    }

    /// The same place, given up by this process at this moment.
    pub fn failed(self) -> Self {
        Self { state: State::Failed, eta_seconds: None, heartbeat: heartbeat(), pid: std::process::id(), ..self }
    }

    /// Replaces `status.json` in `folder`.
    ///
    /// # Errors
    /// [`RunError::File`].
    pub fn write(&self, folder: &Path) -> Result<(), RunError> {
        let path = folder.join("status.json");
        write_atomic(&path, |file| {
            serde_json::to_writer(&mut *file, self)?;
            file.write_all(b"\n")
        })
        .map_err(RunError::file("write", &path))
    }

    /// Reads `status.json` of `folder`; `None` if there is none that can be read.
    pub fn read(folder: &Path) -> Option<Self> {
        serde_json::from_str(&std::fs::read_to_string(folder.join("status.json")).ok()?).ok()
    }
}

fn heartbeat() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
