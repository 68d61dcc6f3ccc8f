//! Sources: folders, files, globs and lists become an ordered list of image files.
//!
//! Nothing is opened here. The order depends on names only, so that every machine and rank agrees on it:
//! folder by folder, sorted by bytes, as torchvision's `ImageFolder` sorts; lists keep their own order.
use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Extensions of files that are taken for images, in any case.
pub const EXTENSIONS: [&str; 12] =
    ["jpg", "jpeg", "png", "bmp", "gif", "webp", "tif", "tiff", "ppm", "pgm", "pbm", "pnm"];

/// One image file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceImage {
    /// Where it is.
    pub path: PathBuf,
    /// Its name relative to the input it came from, with `/` between folders.
    pub name: String,
    /// Index of its class in [`Source::classes`], if the source is labelled.
    pub label: Option<u32>,
}

/// An ordered list of image files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The files.
    pub images: Vec<SourceImage>,
    /// Sorted class names; empty if the source is not labelled.
    pub classes: Vec<String>,
}

impl Source {
    /// Finds the images of folders (searched recursively, links followed, hidden entries left out), image files,
    /// globs and lists (`.txt`, `.lst`: one path a line, relative to the list). Each file is taken once.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::NoImages`], [`Error::BadGlob`] or [`Error::Io`].
    pub fn open(inputs: &[String]) -> Result<Self> {
        let mut images = Vec::new();
        for input in inputs {
            let mut found = open_input(input)?;
            if inputs.len() > 1 && Path::new(input).is_dir() {
                prefix_names(&mut found, input);
            }
            images.extend(found);
        }
        let mut seen = HashSet::new();
        images.retain(|image: &SourceImage| {
            // `./a.jpg` and `a.jpg` are one file; a link and its target are two.
            seen.insert(std::path::absolute(&image.path).unwrap_or_else(|_| image.path.clone()))
        });
        if images.is_empty() {
            return Err(no_images(&inputs.join("`, `")));
        }
        Ok(Self { images, classes: Vec::new() })
    }

    /// Finds the images of a labelled folder: one sub-folder for each class, classes in sorted order.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::NoClasses`], [`Error::NoImages`] or [`Error::Io`].
    pub fn labelled(folder: &Path) -> Result<Self> {
        let shown = folder.display().to_string();
        if !folder.is_dir() {
            return Err(Error::Missing { path: shown });
        }
        let classes: Vec<String> = list(folder)?.into_iter().filter(|name| folder.join(name).is_dir()).collect();
        if classes.is_empty() {
            return Err(Error::NoClasses { path: shown });
        }
        let mut images = Vec::new();
        for (label, class) in classes.iter().enumerate() {
            let start = images.len();
            walk(&folder.join(class), class, &mut Vec::new(), &mut images)?;
            images[start..].iter_mut().for_each(|image| image.label = Some(label as u32));
        }
        if images.is_empty() {
            return Err(no_images(&shown));
        }
        Ok(Self { images, classes })
    }

    /// Returns the number of images.
    pub fn len(&self) -> usize {
        self.images.len()
    }

    /// Returns whether there are no images; a source made here has some.
    pub fn is_empty(&self) -> bool {
        self.images.is_empty()
    }
}

fn open_input(input: &str) -> Result<Vec<SourceImage>> {
    let path = Path::new(input);
    if path.is_dir() {
        let mut images = Vec::new();
        walk(path, "", &mut Vec::new(), &mut images)?;
        return if images.is_empty() { Err(no_images(input)) } else { Ok(images) };
    }
    if path.is_file() {
        let is_list = extension(path).is_some_and(|extension| extension == "txt" || extension == "lst");
        return if is_list { read_list(path) } else { Ok(vec![image_at(path, file_name(path))]) };
    }
    if input.contains(['*', '?', '[']) {
        return expand_glob(input);
    }
    Err(Error::Missing { path: input.to_string() })
}

/// Adds the images under a folder; `trail` holds the real paths of the folders above, against loops of links.
fn walk(folder: &Path, name: &str, trail: &mut Vec<PathBuf>, images: &mut Vec<SourceImage>) -> Result<()> {
    let real = fs::canonicalize(folder).map_err(|source| Error::Io { path: folder.into(), source })?;
    if trail.contains(&real) {
        return Ok(());
    }
    trail.push(real);
    let join = |entry: &str| if name.is_empty() { entry.to_string() } else { format!("{name}/{entry}") };
    let mut folders = Vec::new();
    for entry in list(folder)? {
        let path = folder.join(&entry);
        if path.is_dir() {
            folders.push(entry);
        } else if is_image_name(&path) {
            images.push(image_at(&path, join(&entry)));
        }
    }
    for entry in folders {
        walk(&folder.join(&entry), &join(&entry), trail, images)?;
    }
    trail.pop();
    Ok(())
}

/// Returns the visible entries of a folder in order. Names that are not Unicode are left out: no report could show them.
fn list(folder: &Path) -> Result<Vec<String>> {
    let io = |source| Error::Io { path: folder.into(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(io)? {
        if let Ok(name) = entry.map_err(io)?.file_name().into_string()
            && !name.starts_with('.')
        {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn read_list(list: &Path) -> Result<Vec<SourceImage>> {
    let text = fs::read_to_string(list).map_err(|source| Error::Io { path: list.into(), source })?;
    let folder = list.parent().unwrap_or(Path::new(""));
    let mut images = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let path = folder.join(line);
        if !path.is_file() {
            return Err(Error::Missing { path: format!("{} (listed in {})", path.display(), list.display()) });
        }
        images.push(image_at(&path, line.replace('\\', "/")));
    }
    if images.is_empty() { Err(no_images(&list.display().to_string())) } else { Ok(images) }
}

fn expand_glob(pattern: &str) -> Result<Vec<SourceImage>> {
    let bad = |reason: String| Error::BadGlob { pattern: pattern.to_string(), reason };
    // Names are relative to the last folder before the first wildcard.
    let fixed = pattern.find(['*', '?', '[']).and_then(|at| pattern[..at].rfind(['/', '\\'])).map_or(0, |at| at + 1);
    let root = &pattern[..fixed];
    let mut images = Vec::new();
    for entry in glob::glob(pattern).map_err(|error| bad(error.to_string()))? {
        let path = entry.map_err(|error| bad(error.to_string()))?;
        let shown = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().replace('\\', "/");
        if path.is_dir() {
            walk(&path, &shown, &mut Vec::new(), &mut images)?;
        } else if is_image_name(&path) {
            images.push(image_at(&path, shown));
        }
    }
    if images.is_empty() { Err(no_images(pattern)) } else { Ok(images) }
}

/// Puts the folder's own name in front, so that equal names in several inputs stay apart.
fn prefix_names(images: &mut [SourceImage], input: &str) {
    let folder = file_name(Path::new(input));
    for image in images {
        image.name = format!("{folder}/{}", image.name);
    }
}

fn image_at(path: &Path, name: String) -> SourceImage {
    SourceImage { path: path.to_path_buf(), name, label: None }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

fn extension(path: &Path) -> Option<String> {
    Some(path.extension()?.to_str()?.to_ascii_lowercase())
}

fn is_image_name(path: &Path) -> bool {
    extension(path).is_some_and(|extension| EXTENSIONS.contains(&extension.as_str()))
}

fn no_images(place: &str) -> Error {
    Error::NoImages { place: place.to_string(), extensions: EXTENSIONS.join(", ") }
}
