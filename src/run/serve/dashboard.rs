//! What all answers are made from: the catalog, and those who want to hear of changes.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::broadcast::Sender;

use super::catalog::{Catalog, Contents};

/// Changes that a page may be late by before it has to ask for everything.
const PENDING: usize = 64;

/// What all answers are made from.
#[derive(Debug)]
pub(super) struct Dashboard {
    catalog: Mutex<Catalog>,
    /// Told to every page that is open, as JSON.
    pub changes: Sender<Arc<str>>,
}

impl Dashboard {
    /// A dashboard of the runs under a folder.
    pub fn new(folder: &Path) -> Self {
        Self { catalog: Mutex::new(Catalog::new(folder)), changes: Sender::new(PENDING) }
    }

    /// Looks at the runs and tells what changed.
    pub fn look(&self) {
        let mut catalog = self.catalog();
        for change in catalog.look() {
            if let Ok(text) = serde_json::to_string(&change) {
                // Nobody listening is no error.
                self.changes.send(text.into()).ok();
            }
        }
    }

    /// Everything that is known, after a look.
    pub fn contents(&self) -> Contents {
        self.look();
        self.catalog().contents()
    }

    /// The folder of a run; looks once more before it says that there is none.
    pub fn folder(&self, id: &str) -> Option<PathBuf> {
        let known = || self.catalog().folder(id);
        let folder = known().or_else(|| {
            self.look();
            known()
        });
        folder.filter(|folder| folder.is_dir())
    }

    fn catalog(&self) -> MutexGuard<'_, Catalog> {
        self.catalog.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
