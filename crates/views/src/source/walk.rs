//! Images and archives in folders: everything below, in sorted order.
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Root, SourceImage, archive, is_image_name};
use crate::error::{Error, Result};

/// Adds the images under the folder `name` of the root: those of a folder first, then its folders. Links are followed, but not
/// in circles.
pub(super) fn walk(root: &Arc<Root>, name: &str, images: &mut Vec<SourceImage>) -> Result<()> {
    let mut add = |name: String| {
        if is_image_name(Path::new(&name)) {
            images.push(root.file(name));
        }
    };
    descend(&root.folder, name, &mut Vec::new(), &mut add)
}

/// Returns the names of the folders in a folder.
pub(super) fn folders(folder: &Path) -> Result<Vec<String>> {
    Ok(list(folder)?.folders)
}

/// Returns the archives under a folder, in the order of [`walk`].
pub(super) fn archives(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut archives = Vec::new();
    let mut add = |name: String| {
        let path = folder.join(name);
        if archive::is_archive(&path) {
            archives.push(path);
        }
    };
    descend(folder, "", &mut Vec::new(), &mut add)?;
    Ok(archives)
}

/// Gives `add` the name of every file; `trail` holds the real paths of the folders above.
fn descend(root: &Path, name: &str, trail: &mut Vec<PathBuf>, add: &mut dyn FnMut(String)) -> Result<()> {
    let folder = root.join(name);
    let real = fs::canonicalize(&folder).map_err(|source| Error::Io { path: folder.clone(), source })?;
    if trail.contains(&real) {
        return Ok(());
    }
    trail.push(real);
    let join = |entry: &str| if name.is_empty() { entry.to_string() } else { format!("{name}/{entry}") };
    let entries = list(&folder)?;
    entries.files.iter().for_each(|entry| add(join(entry)));
    for entry in &entries.folders {
        descend(root, &join(entry), trail, add)?;
    }
    trail.pop();
    Ok(())
}

/// The visible files and folders of a folder, sorted.
struct Entries {
    files: Vec<String>,
    folders: Vec<String>,
}

/// Names that are not Unicode are left out: no report could show them.
fn list(folder: &Path) -> Result<Entries> {
    let io = |source| Error::Io { path: folder.into(), source };
    let mut entries = Entries { files: Vec::new(), folders: Vec::new() };
    for entry in fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        let kind = entry.file_type().map_err(io)?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if name.starts_with('.') {
            continue;
        }
        // Only a link has to be asked where it leads; one that leads nowhere is a file that cannot be read.
        let target =
            if kind.is_symlink() { fs::metadata(entry.path()).ok().map(|to| to.file_type()) } else { Some(kind) };
        match target {
            Some(kind) if kind.is_dir() => entries.folders.push(name),
            // A pipe or a device would be waited for.
            Some(kind) if !kind.is_file() => {}
            _ => entries.files.push(name),
        }
    }
    entries.files.sort_unstable();
    entries.folders.sort_unstable();
    Ok(entries)
}
