//! Images and archives in folders: everything below, in sorted order.
use std::collections::HashMap;
use std::fs;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::ScopedJoinHandle;

use super::{Root, SourceImage, archive, is_image_name};
use crate::error::{Error, Result};

/// Threads that list folders: they wait more than they compute.
const LISTERS: usize = 8;

/// Adds the images under the folder `name` of the root: those of a folder first, then its folders. Links are followed, but not
/// in circles.
pub(super) fn walk(root: &Arc<Root>, name: &str, images: &mut Vec<SourceImage>) -> Result<()> {
    let mut add = |name: String| {
        if is_image_name(Path::new(&name)) {
            images.push(root.file(name));
        }
    };
    descend(&root.folder, name, &mut add)
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
    descend(folder, "", &mut add)?;
    Ok(archives)
}

/// Gives `add` the name of every file in order. Folders are listed level by level, several at a time: on a network drive each takes
/// its time.
fn descend(root: &Path, name: &str, add: &mut dyn FnMut(String)) -> Result<()> {
    let mut listed = HashMap::new();
    let mut level = vec![Folder { name: name.to_string(), trail: Vec::new() }];
    while !level.is_empty() {
        let mut below = Vec::new();
        for (folder, found) in level.iter().zip(look_at_all(root, &level)) {
            let Some((real, entries)) = found? else { continue };
            for child in &entries.folders {
                let trail = folder.trail.iter().chain([&real]).cloned().collect();
                below.push(Folder { name: joined(&folder.name, child), trail });
            }
            listed.insert(folder.name.clone(), entries);
        }
        level = below;
    }
    emit(&listed, name, add);
    Ok(())
}

/// A folder that is to be listed.
struct Folder {
    name: String,
    /// Real paths of the folders above.
    trail: Vec<PathBuf>,
}

/// The real path of a folder and what is in it; nothing if it lies within itself.
type Listed = Result<Option<(PathBuf, Entries)>>;

fn look_at_all(root: &Path, folders: &[Folder]) -> Vec<Listed> {
    let look = |folder: &Folder| look_at(root, folder);
    if folders.len() == 1 {
        return folders.iter().map(look).collect();
    }
    std::thread::scope(|scope| {
        let share = folders.len().div_ceil(LISTERS);
        let part = |part| scope.spawn(move || Vec::from_iter(<[Folder]>::iter(part).map(look)));
        let parts: Vec<_> = folders.chunks(share).map(part).collect();
        // A thread that panicked has said why; its folders must not go missing.
        let joined = |part: ScopedJoinHandle<'_, Vec<Listed>>| part.join().unwrap_or_else(|panic| resume_unwind(panic));
        parts.into_iter().flat_map(joined).collect()
    })
}

fn look_at(root: &Path, Folder { name, trail }: &Folder) -> Listed {
    let folder = root.join(name);
    let real = fs::canonicalize(&folder).map_err(|source| Error::Io { path: folder.clone(), source })?;
    if trail.contains(&real) {
        return Ok(None);
    }
    Ok(Some((real, list(&folder)?)))
}

/// The files of a folder first, then those of its folders.
fn emit(listed: &HashMap<String, Entries>, name: &str, add: &mut dyn FnMut(String)) {
    let Some(entries) = listed.get(name) else { return };
    entries.files.iter().for_each(|entry| add(joined(name, entry)));
    entries.folders.iter().for_each(|entry| emit(listed, &joined(name, entry), add));
}

fn joined(name: &str, entry: &str) -> String {
    if name.is_empty() { entry.to_string() } else { format!("{name}/{entry}") }
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
