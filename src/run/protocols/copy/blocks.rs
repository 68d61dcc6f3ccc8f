//! The folders of a copy detection: originals, and blocks of copies beside them, as Copydays has them or fewer, or others.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use dinoxide_views::source::EXTENSIONS;
use serde::Serialize;

use super::super::Manner;
use super::super::listing::{entries, file_name, results_within};
use super::super::ranking::ImageFile;
use crate::run::RunError;

/// Folder of the originals.
pub const ORIGINAL: &str = "original";
/// The block whose copies belong to the originals of the same first characters.
pub const STRONG: &str = "strong";
/// How many characters these are.
const PREFIX: usize = 4;

/// Folders that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// Copies without originals.
    #[error("`{}` has no folder `original` with images; DATA has `original/` and folders of copies beside it, such as `strong/`", data.display())]
    NoOriginals {
        /// The folder.
        data: PathBuf,
    },
    /// Originals without copies.
    #[error("`{}` has no folder of copies beside `original/`, such as `strong/` or `crops/50/`", data.display())]
    NoCopies {
        /// The folder.
        data: PathBuf,
    },
    /// Which original a copy belongs to cannot be told.
    #[error(
        "the {copies} images of `{}` cannot be told to belong to the {originals} originals; give them the names of their originals, or give as many",
        block.display()
    )]
    Unpaired {
        /// The folder.
        block: PathBuf,
        /// Its images.
        copies: usize,
        /// Originals.
        originals: usize,
    },
}

/// How copies are told to belong to originals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Pairing {
    /// The first four characters of the name.
    Prefix,
    /// The name up to its last dot.
    Name,
    /// The place in the sorted folder.
    Order,
}

/// Some copies made in one way.
#[derive(Debug, Clone)]
pub struct Block {
    /// Its folder below the data, such as `crops/50`.
    pub name: String,
    pub pairing: Pairing,
    /// The copies, sorted by name.
    pub copies: Vec<ImageFile>,
    /// Indices of the originals of each.
    pub originals: Vec<Vec<usize>>,
}

/// Finds the originals and the blocks, that of the originals themselves first; the folder of the results, `out`, is no block.
///
/// # Errors
/// If there are no originals or no copies, or a block's copies cannot be told to belong to any.
pub fn find(data: &Path, out: &Path, manner: Manner) -> Result<(Vec<ImageFile>, Vec<Block>), RunError> {
    let originals = if data.join(ORIGINAL).is_dir() { images(data, ORIGINAL, manner)? } else { Vec::new() };
    if originals.is_empty() {
        return Err(CopyError::NoOriginals { data: data.to_path_buf() }.into());
    }
    let mut names = Vec::new();
    for name in folders(data)?.into_iter().filter(|name| name != ORIGINAL) {
        if images(data, &name, manner)?.is_empty() {
            names.extend(folders(&data.join(&name))?.into_iter().map(|inner| format!("{name}/{inner}")));
        } else {
            names.push(name);
        }
    }
    let results = results_within(data, out);
    names.retain(|name| results.as_ref().is_none_or(|results| !Path::new(name).starts_with(results)));
    // `crops/9` before `crops/10`.
    let number = |name: &str| name.rsplit('/').next().and_then(|last| last.parse::<u64>().ok());
    let family = |name: &str| name.split('/').next().map(str::to_owned);
    names.sort_by_key(|name| (name != STRONG, family(name), number(name), name.clone()));
    let mut blocks = vec![block(data, ORIGINAL, originals.clone(), &originals, manner)?];
    for name in names {
        let copies = images(data, &name, manner)?;
        if !copies.is_empty() {
            blocks.push(block(data, &name, copies, &originals, manner)?);
        }
    }
    if blocks.len() == 1 {
        return Err(CopyError::NoCopies { data: data.to_path_buf() }.into());
    }
    Ok((originals, blocks))
}

fn block(
    data: &Path,
    name: &str,
    copies: Vec<ImageFile>,
    originals: &[ImageFile],
    manner: Manner,
) -> Result<Block, CopyError> {
    let block = |pairing, of| Block { name: name.to_owned(), pairing, copies: copies.clone(), originals: of };
    if name == STRONG {
        let beginning = |image: &ImageFile| file_name(&image.path).chars().take(PREFIX).collect::<String>();
        let first: Vec<String> = originals.iter().map(beginning).collect();
        let of = |copy: &ImageFile| (0..first.len()).filter(|at| first[*at] == beginning(copy)).collect();
        return Ok(block(Pairing::Prefix, copies.iter().map(of).collect()));
    }
    let ordered = || block(Pairing::Order, (0..copies.len()).map(|at| vec![at]).collect());
    if manner == Manner::Reference && copies.len() == originals.len() {
        return Ok(ordered());
    }
    let mut by_stem: HashMap<String, Vec<usize>> = HashMap::new();
    for (at, original) in originals.iter().enumerate() {
        by_stem.entry(stem(&original.path)).or_default().push(at);
    }
    let of: Option<Vec<Vec<usize>>> = copies.iter().map(|copy| by_stem.get(&stem(&copy.path)).cloned()).collect();
    match of {
        Some(of) => Ok(block(Pairing::Name, of)),
        None if copies.len() == originals.len() => Ok(ordered()),
        None => {
            let (copies, originals) = (copies.len(), originals.len());
            Err(CopyError::Unpaired { block: data.join(name), copies, originals })
        }
    }
}

/// Images of a folder below the data, not of folders in it, sorted by name. The original program takes `.jpg` only.
fn images(data: &Path, folder: &str, manner: Manner) -> Result<Vec<ImageFile>, RunError> {
    let is_image = |path: &&PathBuf| {
        let ending = path.extension().map(|ending| ending.to_string_lossy().into_owned()).unwrap_or_default();
        match manner {
            Manner::Reference => ending == "jpg",
            Manner::Fitting => EXTENSIONS.contains(&ending.to_ascii_lowercase().as_str()),
        }
    };
    let entries = entries(&data.join(folder))?;
    let images = entries.iter().filter(|path| path.is_file()).filter(is_image);
    let image = |path: &PathBuf| ImageFile { name: format!("{folder}/{}", file_name(path)), path: path.clone() };
    Ok(images.map(image).collect())
}

fn folders(data: &Path) -> Result<Vec<String>, RunError> {
    Ok(entries(data)?.iter().filter(|path| path.is_dir()).map(|path| file_name(path)).collect())
}

fn stem(path: &Path) -> String {
    path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
