//! Any file or folder of weights, told by its content and not by its name.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::dialect::{self, Dialect};
use super::error::{CheckpointError, Result};
use super::folder::{self, Weights};
use super::names::{self, Section};
use super::pytorch::{self, LEGACY_MAGIC, PickledCheckpoint};
use super::safetensors;
use super::section::ROOT;
use super::tensor::{NamedTensor, TensorFile};

/// How much of a file is looked at.
const SNIFF_BYTES: u64 = 512;
/// Where the word `ustar` stands in a tar archive.
const TAR_WORD: std::ops::Range<usize> = 257..262;

/// A file or folder of weights.
pub struct WeightFile {
    path: PathBuf,
    content: Content,
    /// What the descriptions beside the weights state.
    stated: BTreeMap<String, String>,
}

/// The tensors of one network.
#[derive(Debug, Clone)]
pub struct NetworkTensors {
    /// Under their official names, as far as they have one, without the prefixes of wrappers.
    pub tensors: Vec<NamedTensor>,
    /// Whose names the file uses.
    pub dialect: Dialect,
}

/// What a file of weights holds.
pub enum Content {
    /// A file of `torch.save`.
    Pytorch(Box<PickledCheckpoint>),
    /// A safetensors file.
    Safetensors(TensorFile),
}

/// Opens a file of weights of any known format, or a folder of timm or transformers.
///
/// # Errors
/// The file cannot be read, is of no known format, or is damaged.
pub fn read_any(path: &Path) -> Result<WeightFile> {
    let (content, stated) = match path.is_dir() {
        true => {
            let content = match folder::weights(path)? {
                Weights::File(file) => content_of(&file)?,
                Weights::Index(index) => Content::Safetensors(folder::read_index(&index)?),
            };
            (content, folder::stated(path)?)
        }
        false => {
            let content = content_of(path)?;
            // The weights of a folder are given for the folder.
            let folder = path.parent().filter(|folder| folder::is_model_folder(folder) && folder::has(path));
            (content, folder.map_or_else(|| Ok(BTreeMap::new()), folder::stated)?)
        }
    };
    Ok(WeightFile { path: path.to_path_buf(), content, stated })
}

fn content_of(path: &Path) -> Result<Content> {
    let failed = |source| CheckpointError::from_io("read", path, source);
    let mut start = Vec::new();
    File::open(path).map_err(failed)?.take(SNIFF_BYTES).read_to_end(&mut start).map_err(failed)?;
    let refused = |found, hint| CheckpointError::Format { path: path.to_path_buf(), found, hint };
    Ok(match start.as_slice() {
        [] => return Err(refused("empty", "download or copy the file again")),
        // Eight bytes of header length, far below 2^32, then JSON. Before the others: the length may begin as they do.
        [_, _, _, _, 0, 0, 0, 0, b'{', ..] => Content::Safetensors(safetensors::read(path)?),
        [b'P', b'K', ..] => Content::Pytorch(Box::new(pytorch::read(path)?)),
        // PROTO opcode: a pickle. Only the older torch format starts with its magic number.
        [0x80, ..] if start.windows(LEGACY_MAGIC.len()).any(|window| window == LEGACY_MAGIC) => {
            Content::Pytorch(Box::new(pytorch::read(path)?))
        }
        [0x80, ..] => {
            let hint = "save the weights with `torch.save(model.state_dict(), path)`";
            return Err(refused("a pickle that `torch.save` did not write", hint));
        }
        // A length that no header has; the reader says so.
        [_, _, _, _, _, _, _, _, b'{', ..] => Content::Safetensors(safetensors::read(path)?),
        [b'{', ..] => Content::Safetensors(folder::read_index(path)?),
        [b'<', ..] => return Err(refused("a web page", "the download failed; fetch the file again")),
        _ if start.get(TAR_WORD) == Some(b"ustar") => {
            let hint = "unpack it, or load and save it once with a current PyTorch";
            return Err(refused("a tar archive", hint));
        }
        _ if path.extension().is_some_and(|ending| ending == "onnx") => {
            let hint = "give the `.pth` or safetensors file that it was made of";
            return Err(refused("an ONNX file, which is written but not read", hint));
        }
        _ => return Err(refused("of no known format", "expected a `.pth` or a safetensors file")),
    })
}

impl WeightFile {
    /// What the file holds.
    pub fn content(&self) -> &Content {
        &self.content
    }

    /// The same, to read what has no network in it.
    pub fn into_content(self) -> Content {
        self.content
    }

    /// The format in words.
    pub fn format(&self) -> &'static str {
        match &self.content {
            Content::Pytorch(file) if file.is_zip() => "PyTorch file (zip)",
            Content::Pytorch(_) => "PyTorch file (the format before 1.6)",
            Content::Safetensors(_) if self.path.is_dir() => "folder with safetensors",
            Content::Safetensors(_) => "safetensors file",
        }
    }

    /// What a training checkpoint says about the training: the epoch, and its arguments.
    pub fn training(&self) -> BTreeMap<String, String> {
        let Content::Pytorch(file) = &self.content else { return BTreeMap::new() };
        let epoch = file.scalars().get_key_value("epoch");
        epoch.into_iter().chain(file.args()).map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    /// What is stated in words: the text entries of a safetensors file, and what the descriptions in a folder say.
    pub fn texts(&self) -> BTreeMap<String, String> {
        let mut texts = match &self.content {
            Content::Safetensors(file) => file.metadata.clone(),
            Content::Pytorch(_) => BTreeMap::new(),
        };
        texts.extend(self.stated.clone());
        texts
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

    /// The number of tensors in a section.
    pub fn tensor_count(&self, section: &str) -> usize {
        match &self.content {
            Content::Pytorch(file) => file.shapes(section).map_or(0, |shapes| shapes.len()),
            Content::Safetensors(file) => {
                file.tensors.iter().filter(|tensor| split_section(&tensor.name).0 == section).count()
            }
        }
    }

    /// The tensors of one network under their official names.
    ///
    /// # Errors
    /// The file has no such network, or its values are damaged.
    pub fn network(&mut self, wanted: Section) -> Result<NetworkTensors> {
        let found = self.section_names();
        if found.is_empty() && self.has_objects() {
            let hint = "load it with the program that wrote it and save a `state_dict()`";
            return Err(CheckpointError::Format {
                path: self.path.clone(),
                found: "made of Python objects, which are not run",
                hint,
            });
        }
        let chosen = names::choose_section(&found, wanted, &self.path)?;
        let mut tensors = match &mut self.content {
            Content::Pytorch(file) => file.tensors(&chosen)?,
            Content::Safetensors(file) => {
                let inside = file.tensors.iter().filter(|tensor| split_section(&tensor.name).0 == chosen);
                let renamed = inside
                    .map(|tensor| NamedTensor { name: split_section(&tensor.name).1.to_owned(), ..tensor.clone() });
                renamed.collect()
            }
        };
        names::strip_prefixes_of_all(&mut tensors);
        let (tensors, dialect) = dialect::official(tensors);
        names::check_distinct(&tensors, &self.path)?;
        Ok(NetworkTensors { tensors, dialect })
    }

    fn has_objects(&self) -> bool {
        matches!(&self.content, Content::Pytorch(file) if !file.opaque().is_empty())
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
