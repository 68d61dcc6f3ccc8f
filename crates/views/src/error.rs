//! What can go wrong between a path and a batch: one enum for the user's input, one for a single file.
use std::cell::Cell;
use std::path::PathBuf;
use std::sync::Once;

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;

/// Why no batch can be made: every variant is something the user can change.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An input names nothing that exists.
    #[error(
        "no such file or folder: `{path}`; give a folder, an image, a quoted glob such as `photos/*.jpg`, a .txt list, a .csv table, or a .tar or .zip archive"
    )]
    Missing {
        /// The input as it was given.
        path: String,
    },
    /// A folder, list or glob holds no image.
    #[error("no images in `{place}`; looked for files ending in {extensions}, and in .tar and .zip")]
    NoImages {
        /// The inputs that were searched.
        place: String,
        /// The extensions that were looked for.
        extensions: String,
    },
    /// A labelled set has no classes.
    #[error(
        "no class folders in `{path}`; a labelled set is a folder with one sub-folder per class, such as `cat/1.jpg`, or a .csv \
         table with columns `path` and `label`"
    )]
    NoClasses {
        /// The labelled folder.
        path: String,
    },
    /// A glob cannot be parsed.
    #[error("bad glob `{pattern}`: {reason}; quote it, and escape a literal bracket as `[[]`")]
    BadGlob {
        /// The pattern as it was given.
        pattern: String,
        /// What the parser said.
        reason: String,
    },
    /// A table cannot be parsed, or lacks a column.
    #[error("cannot use the table `{path}`: {reason}")]
    BadTable {
        /// The table.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// An archive cannot be read.
    #[error("cannot use the archive `{path}`: {reason}")]
    BadArchive {
        /// The archive.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The operating system refused a folder or list.
    #[error("cannot read `{path}`: {source}; check its permissions")]
    Io {
        /// The folder or list.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A value of the recipe or of the loader makes no sense.
    #[error("bad value for `{key}`: {problem}")]
    Value {
        /// The key as it is spelt in the configuration.
        key: String,
        /// What was given and what is expected.
        problem: String,
    },
    /// More files are unreadable than the user allows.
    #[error(
        "{bad} of {images} images are unreadable, more than `max_bad` = {max_bad} allows; the first: {first}; \
         remove them or raise `max_bad`"
    )]
    TooManyBad {
        /// Distinct unreadable files so far.
        bad: usize,
        /// Files of the source.
        images: usize,
        /// The allowed fraction.
        max_bad: f64,
        /// The first few, with reasons.
        first: String,
    },
    /// No replacement for an unreadable image could be read.
    #[error("found no readable image after {attempts} attempts; the last: {last}; check that the files are images")]
    NothingReadable {
        /// Files that were tried for one place in a batch.
        attempts: u32,
        /// The last failure.
        last: String,
    },
    /// The worker threads are gone: an earlier error was returned, or a worker could not start.
    #[error("the image loader has stopped; the error before this one says why")]
    Stopped,
}

/// Why one file gives no image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// There are more values than memory is meant to hold.
    #[error(
        "{width} x {height} pixels of {channels} values; at most 32 a pixel, {row} along a side and {limit} in all are read"
    )]
    ValueCount {
        /// Width in pixels.
        width: u64,
        /// Height in pixels.
        height: u64,
        /// Values of a pixel.
        channels: usize,
        /// Most values along a side.
        row: u64,
        /// Most values of an image.
        limit: u64,
    },
    /// A pixel has another number of values than are read.
    #[error("{stored} values a pixel where {wanted} are read; see `data.channels`")]
    Channels {
        /// Values in the file.
        stored: usize,
        /// Values that are read.
        wanted: usize,
    },
    /// The file cannot be opened or read.
    #[error("{0}")]
    Io(String),
    /// The file is larger than [`crate::decode::MAX_FILE_BYTES`].
    #[error("file of {bytes} bytes, limit {limit}")]
    FileTooLarge {
        /// Size of the file.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// The image has more pixels than [`crate::decode::MAX_PIXELS`], a side longer than [`crate::decode::MAX_SIDE`], or none.
    #[error("image of {width} x {height} pixels, limit {limit} in all and {side} a side, and at least one")]
    PixelCount {
        /// Width in pixels.
        width: u64,
        /// Height in pixels.
        height: u64,
        /// The limit of all pixels.
        limit: u64,
        /// The limit of a side.
        side: u64,
    },
    /// The content is none of the known formats.
    #[error("not an image: the content is not JPEG, PNG, BMP, GIF, WebP, TIFF, PNM, NPY or DICOM")]
    NotAnImage,
    /// The file ends too early.
    #[error("truncated: the file ends before the image does")]
    Truncated,
    /// The decoder refused the content.
    #[error("broken {format} file: {reason}")]
    Broken {
        /// Name of the format.
        format: String,
        /// What the decoder said.
        reason: String,
    },
    /// The decoder or a transform panicked on this file.
    #[error("decoder failed on this file: {0}")]
    Panicked(String),
}

/// One file that was left out, and why.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Skipped {
    /// The file.
    pub path: PathBuf,
    /// Why it was left out.
    pub reason: String,
}

thread_local! {
    /// Whether a panic of this thread is caught and becomes a reason.
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Returns what `work` returns, with a panic turned into an error: one bad file must not end a run of days. The panic is
/// not printed: its words are part of the error.
pub(crate) fn guard<T>(
    work: impl FnOnce() -> std::result::Result<T, DecodeError>,
) -> std::result::Result<T, DecodeError> {
    static SILENCE: Once = Once::new();
    SILENCE.call_once(|| {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !GUARDED.get() {
                hook(panic);
            }
        }));
    });
    let outer = GUARDED.replace(true);
    // The closures passed here own or only read what they touch, so nothing half-written survives the unwinding.
    let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
    GUARDED.set(outer);
    done.unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
        Err(DecodeError::Panicked(text.unwrap_or("unknown panic").to_string()))
    })
}
