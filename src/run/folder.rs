//! The run folder: its name, whether a run may start or continue in it, and what belongs to it.

use std::path::{Path, PathBuf};

use dinoxide_views::Source;

use super::RunError;
use super::lock::{LOCK_FILE, Lock};
use super::tensorboard::EVENT_FILES;
use crate::checkpoint::atomic::write_atomic;
use crate::config::{Config, KEYS, ModelConfig};

/// Name of the configuration in a run folder.
pub const CONFIG_FILE: &str = "config.toml";
/// List of the images that a run trains on.
pub const IMAGES_FILE: &str = "images.csv.gz";

/// Folder of the pictures that `dinoxide demo` makes before its run begins.
pub(super) const DATA_FOLDER: &str = "data";

/// Everything a run writes but its event files; `--overwrite` deletes these and nothing else.
const OWN_ENTRIES: [&str; 14] = [
    "command.txt",
    "environment.json",
    "status.json",
    "train.log",
    "metrics.jsonl",
    "log.txt",
    "skipped.jsonl",
    IMAGES_FILE,
    "report.html",
    "checkpoints",
    "export",
    "pictures",
    "debug",
    // Last: while it is there, a half-deleted run is still known as one.
    CONFIG_FILE,
];

/// What to do with a folder that already holds a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenExists {
    /// Continue it if the configuration is the same, else refuse.
    #[default]
    Resume,
    /// Continue it with its own configuration; refuse if there is none.
    MustResume,
    /// Refuse.
    Refuse,
    /// Delete it and start anew.
    Overwrite,
}

/// How the run in an opened folder begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// From nothing.
    Fresh,
    /// From the last checkpoint, if there is one yet.
    Resume,
}

/// A folder that this process may write to.
#[derive(Debug)]
pub struct RunFolder {
    /// Where it is.
    pub path: PathBuf,
    /// How the run begins.
    pub start: Start,
    /// The configuration of the run; the stored one under [`WhenExists::MustResume`].
    pub config: Config,
    /// What the user should know: a lock taken over, keys that changed or were ignored.
    pub notices: Vec<String>,
    _lock: Lock,
}

impl RunFolder {
    /// Opens or creates the folder `path` for a run of `config` and writes `config.toml`.
    ///
    /// # Errors
    /// [`RunError::Differs`], [`RunError::Exists`], [`RunError::NotARun`], [`RunError::NothingToResume`],
    /// [`RunError::InUse`], [`RunError::File`].
    pub fn open(path: &Path, config: &Config, when_exists: WhenExists) -> Result<Self, RunError> {
        let holds_run = Self::check(path, when_exists)?;
        std::fs::create_dir_all(path).map_err(RunError::file("create", path))?;
        let lock = Lock::take(path)?;
        let mut notices = Vec::new();
        if let Some(holder) = &lock.taken_over_from {
            notices.push(format!(
                "process {} on {} ended without saying so; its lock is taken over",
                holder.pid, holder.host
            ));
        }
        let (start, config) = match when_exists {
            WhenExists::Overwrite => {
                delete_run(path)?;
                (Start::Fresh, config.clone())
            }
            _ if !holds_run => (Start::Fresh, config.clone()),
            WhenExists::MustResume => (Start::Resume, continued(path, config, &mut notices)?),
            WhenExists::Resume | WhenExists::Refuse => {
                compare(path, config, &mut notices)?;
                (Start::Resume, config.clone())
            }
        };
        write_config(path, &config)?;
        Ok(Self { path: path.to_owned(), start, config, notices, _lock: lock })
    }

    /// Whether `path` holds a run; nothing is created.
    ///
    /// # Errors
    /// If a run may not begin or go on there: [`RunError::Exists`], [`RunError::NotARun`], [`RunError::NothingToResume`].
    pub fn check(path: &Path, when_exists: WhenExists) -> Result<bool, RunError> {
        let holds_run = path.join(CONFIG_FILE).exists();
        match when_exists {
            WhenExists::MustResume if !holds_run => Err(RunError::NothingToResume { path: path.to_owned() }),
            WhenExists::Refuse if holds_run => Err(RunError::Exists { path: path.to_owned() }),
            _ if !holds_run && !is_empty(path)? => Err(RunError::NotARun { path: path.to_owned() }),
            _ => Ok(holds_run),
        }
    }

    /// What to type to continue this run.
    pub fn resume_command(&self) -> String {
        format!("dinoxide pretrain -c {}", self.path.join(CONFIG_FILE).display())
    }

    /// Writes down which images the run trains on.
    ///
    /// # Errors
    /// [`RunError::File`].
    pub fn keep_images(&self, source: &Source) -> Result<(), RunError> {
        let file = self.path.join(IMAGES_FILE);
        write_atomic(&file, |file| source.write_manifest(file)).map_err(RunError::file("write", file))
    }

    /// The folder of checkpoints.
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }
}

/// The configuration of the run in `path`; `None` if there is no run.
///
/// # Errors
/// If it cannot be read or is not valid.
pub fn stored_config(path: &Path) -> Result<Option<Config>, RunError> {
    let file = path.join(CONFIG_FILE);
    if !file.exists() {
        return Ok(None);
    }
    Ok(Some(Config::from_file(&file)?))
}

/// The images that the run in `path` trains on, of `inputs` inputs; `None` if it has not written them down.
///
/// # Errors
/// If the list is damaged.
pub fn kept_images(path: &Path, inputs: usize) -> Result<Option<Source>, RunError> {
    let file = path.join(IMAGES_FILE);
    if !file.exists() {
        return Ok(None);
    }
    Ok(Some(Source::read_manifest(&file, inputs)?))
}

/// A free folder `runs/<data>-<model>-<n>` under `parent`.
pub fn default_path(parent: &Path, config: &Config) -> PathBuf {
    let first = config.data.train.first().map_or("data", String::as_str);
    let fixed = first.split(['*', '?', '[']).next().unwrap_or(first);
    // `photos/` and `.` name a folder only once they are absolute.
    let absolute = std::fs::canonicalize(fixed).unwrap_or_else(|_| PathBuf::from(fixed));
    let last = if absolute.is_dir() { absolute.file_name() } else { absolute.file_stem() };
    let name = last.map_or_else(|| "data".to_owned(), |name| name.to_string_lossy().into_owned());
    let plain: String = name.chars().map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '-' }).collect();
    let stem = format!("{plain}-{}", short_name(&config.model));
    let taken = |number: &usize| parent.join(format!("{stem}-{number}")).exists();
    let number = (1..).find(|number| !taken(number)).unwrap_or(1);
    parent.join(format!("{stem}-{number}"))
}

/// What a network is called in the names of folders, such as `vits16`.
fn short_name(model: &ModelConfig) -> String {
    if let Some(name) = model.dinov2_name() {
        return name.to_owned();
    }
    let Some(size) = model.name.strip_prefix("vit_") else { return model.name.clone() };
    format!("vit{}{}", size.chars().take(1).collect::<String>(), model.patch_size)
}

fn is_empty(path: &Path) -> Result<bool, RunError> {
    let entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(RunError::file("read", path)(error)),
    };
    // The lock and temporary files of a run that was killed at its very start, and the pictures of a demo.
    let hidden = |name: &std::ffi::OsStr| {
        let temporary = name.to_string_lossy();
        name == LOCK_FILE || name == DATA_FOLDER || temporary.ends_with(".tmp") || temporary.starts_with(".tmp")
    };
    Ok(entries.filter_map(Result::ok).all(|entry| hidden(&entry.file_name())))
}

/// `(key, value there, value now)`, split into those that matter and those that do not.
type Differences = Vec<(String, String, String)>;

fn differences(path: &Path, now: &Config) -> Result<(Config, Differences, Differences), RunError> {
    let Some(there) = stored_config(path)? else { return Ok((now.clone(), Vec::new(), Vec::new())) };
    let all = there.differences(now)?;
    // Of a loss between images the micro-batch is a part.
    let compares = there.method.name.compares_images();
    let free = |name: &str| {
        let free = KEYS.iter().any(|key| key.name == name && key.free_on_resume);
        free && !(compares && name == "run.micro_batch")
    };
    let (changeable, fixed) = all.into_iter().partition(|(key, ..)| free(key));
    Ok((there, fixed, changeable))
}

/// Refuses a configuration that would give another result; notes one that only runs differently.
fn compare(path: &Path, config: &Config, notices: &mut Vec<String>) -> Result<(), RunError> {
    let (_, fixed, changeable) = differences(path, config)?;
    if !fixed.is_empty() {
        return Err(RunError::Differs { path: path.to_owned(), differences: fixed });
    }
    notices.extend(changeable.iter().map(|(key, there, now)| format!("`{key}` was {there} and is now {now}")));
    Ok(())
}

/// The stored configuration; notes what was asked for in vain.
fn continued(path: &Path, config: &Config, notices: &mut Vec<String>) -> Result<Config, RunError> {
    let (there, fixed, changeable) = differences(path, config)?;
    let ignored = fixed.iter().chain(&changeable);
    notices.extend(ignored.map(|(key, there, now)| format!("`{key}` stays {there}; {now} is ignored")));
    Ok(there)
}

fn delete_run(path: &Path) -> Result<(), RunError> {
    let entries = std::fs::read_dir(path).map_err(RunError::file("read", path))?.filter_map(Result::ok);
    let events = entries
        .map(|entry| entry.path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(EVENT_FILES)));
    for entry in events.chain(OWN_ENTRIES.map(|name| path.join(name))) {
        let deleted = if entry.is_dir() { std::fs::remove_dir_all(&entry) } else { std::fs::remove_file(&entry) };
        match deleted {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(RunError::file("delete", entry)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

fn write_config(path: &Path, config: &Config) -> Result<(), RunError> {
    let text = config.to_commented_toml()?;
    let file = path.join(CONFIG_FILE);
    write_atomic(&file, |file| file.write_all(text.as_bytes())).map_err(RunError::file("write", file))
}
