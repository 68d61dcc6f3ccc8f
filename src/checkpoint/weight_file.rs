//! Any file of weights, told by its content and not by its name.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::error::{CheckpointError, Result};
use super::names::{self, Section};
use super::pytorch::{self, LEGACY_MAGIC, PickledCheckpoint};
use super::safetensors;
use super::section::ROOT;
use super::tensor::{NamedTensor, TensorFile};

/// How much of a file is looked at.
const SNIFF_BYTES: u64 = 512;
/// Where the word `ustar` stands in a tar archive.
const TAR_WORD: std::ops::Range<usize> = 257..262;

/// A file of weights.
pub struct WeightFile {
    path: PathBuf,
    content: Content,
}

/// What a file of weights holds.
pub enum Content {
    /// A file of `torch.save`.
    Pytorch(Box<PickledCheckpoint>),
    /// A safetensors file.
    Safetensors(TensorFile),
}

/// Opens a file of weights of any known format.
///
/// # Errors
/// The file cannot be read, is of no known format, or is damaged.
pub fn read_any(path: &Path) -> Result<WeightFile> {
    let failed = |source| CheckpointError::from_io("read", path, source);
    let mut start = Vec::new();
    File::open(path).map_err(failed)?.take(SNIFF_BYTES).read_to_end(&mut start).map_err(failed)?;
    let refused = |found, hint| CheckpointError::Format { path: path.to_path_buf(), found, hint };
    let content = match start.as_slice() {
        [] => return Err(refused("empty", "download or copy the file again")),
        // Eight bytes of header length, far below 2^32, then JSON. Before the others: the length may begin as they do.
        [_, _, _, _, 0, 0, 0, 0, b'{', ..] => Content::Safetensors(safetensors::read(path)?),
        // PROTO opcode: a pickle. Only the older torch format starts with its magic number.
        [b'P', b'K', ..] => Content::Pytorch(Box::new(pytorch::read(path)?)),
        [0x80, ..] if start.windows(LEGACY_MAGIC.len()).any(|window| window == LEGACY_MAGIC) => {
            Content::Pytorch(Box::new(pytorch::read(path)?))
        }
        [0x80, ..] => {
            let hint = "save the weights with `torch.save(model.state_dict(), path)`";
            return Err(refused("a pickle that `torch.save` did not write", hint));
        }
        [b'<', ..] => return Err(refused("a web page", "the download failed; fetch the file again")),
        _ if start.get(TAR_WORD) == Some(b"ustar") => {
            let hint = "unpack it, or load and save it once with a current PyTorch";
            return Err(refused("a tar archive", hint));
        }
        _ => return Err(refused("of no known format", "expected a `.pth` or a safetensors file")),
    };
    Ok(WeightFile { path: path.to_path_buf(), content })
}

impl WeightFile {
    /// What the file holds.
    pub fn content(&self) -> &Content {
        &self.content
    }

    /// The names of the sections that hold tensors. In a safetensors file these are `student` and `teacher` where names
    /// start with them.
    pub fn section_names(&self) -> Vec<String> {
        let file = match &self.content {
            Content::Pytorch(file) => return file.section_names(),
            Content::Safetensors(file) => file,
        };
        let mut sections: Vec<String> = Vec::new();
        for tensor in &file.tensors {
            let (section, _) = split_section(&tensor.name);
            if !sections.iter().any(|known| known == section) {
                sections.push(section.to_owned());
            }
        }
        sections
    }

    /// The tensors of one network, without the prefixes `module.` and `backbone.`.
    ///
    /// # Errors
    /// The file has no such network, or its values are damaged.
    pub fn network(&mut self, wanted: Section) -> Result<Vec<NamedTensor>> {
        let chosen = names::choose_section(&self.section_names(), wanted, &self.path)?;
        let mut tensors = match &mut self.content {
            Content::Pytorch(file) => file.tensors(&chosen)?,
            Content::Safetensors(file) => {
                let inside = file.tensors.iter().filter(|tensor| split_section(&tensor.name).0 == chosen);
                let renamed = inside
                    .map(|tensor| NamedTensor { name: split_section(&tensor.name).1.to_owned(), ..tensor.clone() });
                renamed.collect()
            }
        };
        names::strip_all(&mut tensors, &self.path)?;
        Ok(tensors)
    }

    /// The tensors of a section of a `.pth` by its own name; none if there is no such section.
    ///
    /// # Errors
    /// Its values are damaged.
    pub fn section(&mut self, name: &str) -> Result<Vec<NamedTensor>> {
        match &mut self.content {
            Content::Pytorch(file) if file.section_names().iter().any(|known| known == name) => file.tensors(name),
            _ => Ok(Vec::new()),
        }
    }
}

fn split_section(name: &str) -> (&str, &str) {
    match name.split_once('.') {
        Some((section, rest)) if [Section::Teacher.key(), Section::Student.key()].contains(&section) => (section, rest),
        _ => (ROOT, name),
    }
}
