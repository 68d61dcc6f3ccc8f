//! Images in tar and zip files: an index of where each begins, so that any of them is read by itself.
//!
//! Tar shards have WebDataset's layout or any other: regular files with an image's extension are images.
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use super::{Root, SourceImage, has_extension, is_image_name};
use crate::decode::MAX_FILE_BYTES;
use crate::error::{DecodeError, Error, Result};

/// Where an image lies in its archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Member {
    /// First byte in the archive.
    pub offset: u64,
    /// Bytes in the archive.
    pub stored: u64,
    /// How they are stored.
    pub packing: Packing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Packing {
    Plain,
    Deflate,
}

impl Member {
    /// Reads the image's bytes.
    pub fn read(&self, archive: &Path) -> std::result::Result<Vec<u8>, DecodeError> {
        let io = |error: std::io::Error| DecodeError::Io(error.to_string());
        if self.stored > MAX_FILE_BYTES {
            return Err(DecodeError::FileTooLarge { bytes: self.stored, limit: MAX_FILE_BYTES });
        }
        let mut file = File::open(archive).map_err(io)?;
        file.seek(SeekFrom::Start(self.offset)).map_err(io)?;
        let mut stored = Vec::with_capacity(self.stored as usize);
        file.take(self.stored).read_to_end(&mut stored).map_err(io)?;
        if (stored.len() as u64) < self.stored {
            return Err(DecodeError::Truncated);
        }
        if self.packing == Packing::Plain {
            return Ok(stored);
        }
        let mut bytes = Vec::new();
        let inflated = flate2::read::DeflateDecoder::new(&stored[..]).take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes);
        inflated.map_err(|error| DecodeError::Broken { format: "zip".to_string(), reason: error.to_string() })?;
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(DecodeError::FileTooLarge { bytes: bytes.len() as u64, limit: MAX_FILE_BYTES });
        }
        Ok(bytes)
    }
}

pub(super) fn is_archive(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("").to_ascii_lowercase();
    has_extension(path, &["tar", "zip", "tgz"]) || name.ends_with(".tar.gz") || name.ends_with(".tar.zst")
}

/// Finds the images of an archive. Names begin with the archive's path in `folder`, if one is given.
pub(super) fn open(archive: &Path, folder: Option<&Path>) -> Result<Vec<SourceImage>> {
    let bad = |reason: String| Error::BadArchive { path: archive.into(), reason };
    let (base, prefix) = match folder {
        Some(folder) => {
            let own = archive.strip_prefix(folder).unwrap_or(archive).to_string_lossy().replace('\\', "/");
            (folder, format!("{own}/"))
        }
        None => (archive, String::new()),
    };
    let root = Arc::new(Root { folder: base.to_path_buf(), archive: Some(archive.to_path_buf()) });
    let members = match archive.extension().and_then(|extension| extension.to_str()).map(str::to_ascii_lowercase) {
        Some(extension) if extension == "tar" => tar_members(archive).map_err(|error| bad(error.to_string()))?,
        Some(extension) if extension == "zip" => zip_members(archive).map_err(bad)?,
        _ => {
            return Err(bad("compressed tar files cannot be read image by image; unpack it to .tar first".to_string()));
        }
    };
    let image = |(name, member): (String, Member)| SourceImage {
        name: format!("{prefix}{name}").into(),
        label: None,
        root: Arc::clone(&root),
        member: Some(member),
    };
    Ok(members.into_iter().map(image).collect())
}

/// Whether a member is an image that is meant to be seen.
fn is_wanted(name: &str) -> bool {
    let hidden = |part: &str| part.starts_with('.') && part != "." || part == "__MACOSX";
    is_image_name(Path::new(name)) && !name.split('/').any(hidden)
}

fn tar_members(path: &Path) -> std::io::Result<Vec<(String, Member)>> {
    let file = File::open(path)?;
    let len = file.metadata()?.len();
    let mut archive = tar::Archive::new(BufReader::new(file));
    let mut members = Vec::new();
    for entry in archive.entries_with_seek()? {
        let entry = entry?;
        let name = entry.path()?.to_string_lossy().trim_start_matches("./").to_string();
        // The members behind it would be missing without a word.
        if entry.raw_file_position().saturating_add(entry.size()) > len {
            return Err(std::io::Error::other(format!("it ends inside `{name}`; copy it again")));
        }
        if entry.header().entry_type().is_file() && is_wanted(&name) {
            let (offset, stored) = (entry.raw_file_position(), entry.size());
            members.push((name, Member { offset, stored, packing: Packing::Plain }));
        }
    }
    Ok(members)
}

fn zip_members(path: &Path) -> std::result::Result<Vec<(String, Member)>, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut archive = zip::ZipArchive::new(BufReader::new(file)).map_err(|error| error.to_string())?;
    let mut members = Vec::new();
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index).map_err(|error| error.to_string())?;
        let name = entry.name().replace('\\', "/");
        if !entry.is_file() || !is_wanted(&name) {
            continue;
        }
        if entry.encrypted() {
            return Err(format!("`{name}` is encrypted; unpack the archive first"));
        }
        let packing = match entry.compression() {
            zip::CompressionMethod::Stored => Packing::Plain,
            zip::CompressionMethod::Deflated => Packing::Deflate,
            other => return Err(format!("`{name}` is packed with {other}; unpack the archive first")),
        };
        members.push((name, Member { offset: entry.data_start(), stored: entry.compressed_size(), packing }));
    }
    Ok(members)
}
