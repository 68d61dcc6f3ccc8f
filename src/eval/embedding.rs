//! Features to files that other tools read: `.npz` (numpy) and `.csv`.
//!
//! Rows stream to disk as they come, so memory does not grow with the number of images beyond their names. Both
//! formats are written to a temporary file beside the target and renamed when complete. The `.npz` arrays go through a
//! second temporary file, because their header holds the number of rows, which is only known once unreadable images
//! have been skipped.

use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

use super::EvalError;

/// What one row holds; its name is the array's key in the `.npz` file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeatureKind {
    /// One vector for each image: `embeddings`, [N, D].
    Embeddings,
    /// All tokens of the last layer: `tokens`, [N, T, D].
    Tokens,
    /// The CLS row of the last block without the CLS key: `attention`, [N, heads, T − 1].
    Attention,
}

impl FeatureKind {
    /// Returns the array's key in the `.npz` file.
    pub fn key(self) -> &'static str {
        match self {
            Self::Embeddings => "embeddings",
            Self::Tokens => "tokens",
            Self::Attention => "attention",
        }
    }
}

/// Writes features image by image. Nothing appears at the target before [`FeatureWriter::finish`].
#[derive(Debug)]
pub struct FeatureWriter {
    path: PathBuf,
    kind: FeatureKind,
    row_shape: Vec<usize>, // The shape of one image's features: [D], [T, D] or [heads, T - 1].
    sink: Sink,
}

#[derive(Debug)]
enum Sink {
    /// The names so far, and the array's values without a header.
    Npz { filenames: Vec<String>, values: BufWriter<File> },
    /// Text that becomes the target.
    Csv(Box<csv::Writer<NamedTempFile>>),
}

impl FeatureWriter {
    /// Starts a file; its extension, `.npz` or `.csv`, chooses the format. Missing parent folders are made.
    ///
    /// # Shapes
    /// `row_shape` is the shape of one image's features: `[D]`, `[T, D]` or `[heads, T − 1]`.
    ///
    /// # Errors
    /// Another extension, CSV for anything but one vector per image, a file that cannot be written.
    pub fn create(path: &Path, kind: FeatureKind, row_shape: &[usize]) -> Result<Self, EvalError> {
        let extension = path.extension().map(|extension| extension.to_ascii_lowercase());
        let sink = match extension.as_deref().and_then(|extension| extension.to_str()) {
            Some("npz") => {
                let values = tempfile::tempfile_in(folder(path)?).map_err(EvalError::writing(path))?;
                Sink::Npz { filenames: Vec::new(), values: BufWriter::new(values) }
            }
            Some("csv") if kind == FeatureKind::Embeddings => csv_sink(path, row_shape.iter().product())?,
            Some("csv") => return Err(EvalError::CsvShape { path: path.to_path_buf(), what: kind.key() }),
            _ => return Err(EvalError::UnknownFormat { path: path.to_path_buf() }),
        };
        Ok(Self { path: path.to_path_buf(), kind, row_shape: row_shape.to_vec(), sink })
    }

    /// Adds one image. Names are relative to the data folder, with `/` between folders.
    ///
    /// # Errors
    /// [`EvalError::Size`] if `features` is not as long as the row shape says, or a failed write.
    pub fn push(&mut self, filename: &str, features: &[f32]) -> Result<(), EvalError> {
        let expected = self.row_shape.iter().product();
        if features.len() != expected {
            return Err(EvalError::Size { what: "one image's features", found: features.len(), expected });
        }
        match &mut self.sink {
            Sink::Npz { filenames, values } => {
                filenames.push(filename.to_owned());
                let mut write = || features.iter().try_for_each(|value| values.write_all(&value.to_le_bytes()));
                write().map_err(EvalError::writing(&self.path))
            }
            Sink::Csv(writer) => {
                let columns = features.iter().map(f32::to_string); // The shortest text that reads back the same f32.
                let record = std::iter::once(filename.to_owned()).chain(columns);
                writer.write_record(record).map_err(EvalError::writing(&self.path))
            }
        }
    }

    /// Completes the file and moves it into place, over an older one.
    ///
    /// # Errors
    /// A failed write; the target is then as it was before.
    pub fn finish(self) -> Result<(), EvalError> {
        let target = match self.sink {
            Sink::Npz { filenames, values } => {
                let target = target_file(&self.path)?;
                let shape: Vec<usize> = std::iter::once(filenames.len()).chain(self.row_shape).collect();
                let array = Array { key: self.kind.key(), shape, values };
                write_npz(target, &filenames, array).map_err(EvalError::writing(&self.path))?
            }
            Sink::Csv(writer) => writer.into_inner().map_err(|error| EvalError::Write {
                path: self.path.clone(),
                source: std::io::Error::other(error.to_string()),
            })?,
        };
        target.as_file().sync_all().map_err(EvalError::writing(&self.path))?;
        target.persist(&self.path).map_err(|error| error.error).map_err(EvalError::writing(&self.path))?;
        Ok(())
    }
}

fn csv_sink(path: &Path, dim: usize) -> Result<Sink, EvalError> {
    let mut writer = csv::Writer::from_writer(target_file(path)?);
    let columns = (0..dim).map(|column| format!("embedding_{column}"));
    let header = std::iter::once("filename".to_owned()).chain(columns);
    writer.write_record(header).map_err(EvalError::writing(path))?;
    Ok(Sink::Csv(Box::new(writer)))
}

/// Returns the folder of `path`, made if it is missing.
fn folder(path: &Path) -> Result<&Path, EvalError> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(folder).map_err(EvalError::writing(path))?;
    Ok(folder)
}

/// Opens the temporary file that becomes `path`, with the permissions of an ordinary new file.
fn target_file(path: &Path) -> Result<NamedTempFile, EvalError> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".dinoxide-").suffix(".tmp");
    #[cfg(unix)]
    {
        // A temporary file is private by default, and would stay so after the rename. The umask still applies.
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(folder(path)?).map_err(EvalError::writing(path))
}

/// An array whose values wait in a file.
struct Array {
    key: &'static str,
    shape: Vec<usize>,
    values: BufWriter<File>,
}

fn write_npz(target: NamedTempFile, filenames: &[String], array: Array) -> std::io::Result<NamedTempFile> {
    // Stored, as `numpy.savez` does: features hardly compress. Zip64 lifts the limit of 4 GB.
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored).large_file(true);
    let mut archive = ZipWriter::new(BufWriter::new(target));

    archive.start_file("filenames.npy", options)?;
    let width = filenames.iter().map(|name| name.chars().count()).max().unwrap_or(0).max(1);
    archive.write_all(&npy_header(&format!("<U{width}"), &[filenames.len()]))?;
    for name in filenames {
        archive.write_all(&utf32(name, width))?;
    }

    archive.start_file(format!("{}.npy", array.key), options)?;
    archive.write_all(&npy_header("<f4", &array.shape))?;
    let mut values = array.values.into_inner().map_err(std::io::IntoInnerError::into_error)?;
    values.seek(SeekFrom::Start(0))?;
    std::io::copy(&mut values, &mut archive)?;
    archive.finish()?.into_inner().map_err(std::io::IntoInnerError::into_error)
}

/// Returns numpy's fixed-width text: UTF-32, little-endian, filled up with zeros to `width` characters.
fn utf32(text: &str, width: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = text.chars().flat_map(|character| u32::from(character).to_le_bytes()).collect();
    bytes.resize(width * size_of::<u32>(), 0);
    bytes
}

/// Returns the header of a `.npy` file, format 1.0 (`numpy.lib.format`): magic, version, length of the text, and a
/// Python dictionary padded with spaces to a multiple of 64 bytes. By hand, for `npyz` cannot write `<U` arrays.
fn npy_header(dtype: &str, shape: &[usize]) -> Vec<u8> {
    const PREFIX: usize = 10; // Magic 6, version 2, length 2.
    const ALIGNMENT: usize = 64;
    let sides = shape.iter().map(|side| format!("{side},")).collect::<Vec<_>>().join(" ");
    let mut text = format!("{{'descr': '{dtype}', 'fortran_order': False, 'shape': ({sides}), }}");
    let length = (PREFIX + text.len() + 1).next_multiple_of(ALIGNMENT) - PREFIX;
    text.push_str(&" ".repeat(length - 1 - text.len()));
    text.push('\n');
    let mut header = b"\x93NUMPY\x01\x00".to_vec();
    header.extend((length as u16).to_le_bytes()); // A few numbers long, far below 65,536.
    header.extend(text.as_bytes());
    header
}
