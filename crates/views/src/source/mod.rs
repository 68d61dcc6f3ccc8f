//! Sources: folders, files, globs, lists, tables and archives become an ordered list of images.
//!
//! No image is opened here. The order depends on names only, so that every machine and rank agrees on it:
//! folder by folder, sorted by bytes, as torchvision's `ImageFolder` sorts; lists, tables and archives keep their own order.
//!
//! | file | finds images in |
//! |---|---|
//! | `walk.rs` | folders |
//! | `list.rs` | globs, lists, tables |
//! | `archive.rs` | tar and zip files, read in place |
//!
//! `manifest.rs` writes a list down and reads it again.
use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::decode::{decode_bytes, read_limited};
use crate::error::{DecodeError, Error, Result};
use crate::pixel::Image;
use crate::samples::Reading;
use crate::times::{Clock, Times};

mod archive;
mod list;
mod manifest;
mod walk;

use archive::Member;

/// Extensions of files that are taken for images, in any case.
pub const EXTENSIONS: [&str; 14] =
    ["jpg", "jpeg", "png", "bmp", "gif", "webp", "tif", "tiff", "ppm", "pgm", "pbm", "pnm", "npy", "dcm"];

/// One image. A million of them should fit into memory with room to spare, so places are put together when asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceImage {
    /// Its name relative to the input it came from, with `/` between folders.
    pub name: Box<str>,
    /// Index of its class in [`Source::classes`], if the source is labelled.
    pub label: Option<u32>,
    root: Arc<Root>,
    member: Option<Member>,
}

/// What many images share.
#[derive(Debug, PartialEq, Eq)]
struct Root {
    /// What names are relative to.
    folder: PathBuf,
    /// The file that holds the images, if they are no files of their own.
    archive: Option<PathBuf>,
}

impl Root {
    fn folder(folder: &Path) -> Arc<Self> {
        Arc::new(Self { folder: folder.to_path_buf(), archive: None })
    }

    fn file(self: &Arc<Self>, name: impl Into<Box<str>>) -> SourceImage {
        SourceImage { name: name.into(), label: None, root: Arc::clone(self), member: None }
    }
}

impl SourceImage {
    /// Returns where the image is; members of an archive as if it were a folder.
    pub fn path(&self) -> PathBuf {
        self.root.folder.join(&*self.name)
    }

    /// Returns how many bytes are stored, if that can be found out without reading them.
    pub fn stored_bytes(&self) -> Option<u64> {
        match &self.member {
            Some(member) => Some(member.stored),
            None => std::fs::metadata(self.path()).ok().map(|file| file.len()),
        }
    }

    /// Returns the bytes as stored.
    ///
    /// # Errors
    /// Says why they cannot be read.
    pub fn read(&self) -> std::result::Result<Vec<u8>, DecodeError> {
        match (&self.root.archive, &self.member) {
            (Some(archive), Some(member)) => member.read(archive),
            _ => read_limited(&self.path()),
        }
    }

    /// Decodes the image.
    ///
    /// # Errors
    /// Says why there is none; never panics.
    pub fn decode(&self, reading: &Reading) -> std::result::Result<Image, DecodeError> {
        self.decode_timed(reading, &mut Times::default())
    }

    /// Decodes the image and adds the time that reading and decoding take.
    ///
    /// # Errors
    /// As [`SourceImage::decode`].
    pub fn decode_timed(&self, reading: &Reading, times: &mut Times) -> std::result::Result<Image, DecodeError> {
        let mut clock = Clock::start();
        let bytes = self.read();
        clock.add(&mut times.read);
        let image = bytes.and_then(|bytes| decode_bytes(&bytes, reading));
        clock.add(&mut times.decode);
        image
    }
}

/// An ordered list of images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The images.
    pub images: Vec<SourceImage>,
    /// Sorted class names; empty if the source is not labelled.
    pub classes: Vec<String>,
    /// Images of each input, in the order of the inputs.
    pub inputs: Vec<u32>,
}

impl Source {
    /// Finds the images of folders (searched recursively, links followed, hidden entries left out), image files,
    /// globs, lists (`.txt`, `.lst`: one path a line, relative to the list), tables (`.csv`: a column of paths), tar and zip
    /// archives. Archives in a folder count if there is no other image under it. Each file is taken once.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::NoImages`], [`Error::BadGlob`], [`Error::BadTable`], [`Error::BadArchive`] or
    /// [`Error::Io`].
    pub fn open(inputs: &[String]) -> Result<Self> {
        let alone = inputs.len() == 1;
        let (mut images, mut counts) = (Vec::new(), Vec::new());
        let mut seen = HashSet::new();
        for input in inputs {
            let mut found = open_input(input, alone)?;
            // A folder has every file once.
            if !(alone && Path::new(input).is_dir()) {
                found.retain(|image| {
                    // `./a.jpg` and `a.jpg` are one file; a link and its target are two.
                    let path = image.path();
                    seen.insert(std::path::absolute(&path).unwrap_or(path))
                });
            }
            counts.push(found.len() as u32);
            images.append(&mut found);
        }
        if images.is_empty() {
            return Err(no_images(&inputs.join("`, `")));
        }
        Ok(Self { images, classes: Vec::new(), inputs: counts })
    }

    /// Finds the images of a labelled folder, one sub-folder for each class, or of a table (`.csv`) with columns of paths
    /// and of labels. Classes are sorted, and images by their class.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::NoClasses`], [`Error::NoImages`], [`Error::BadTable`] or [`Error::Io`].
    pub fn labelled(place: &Path) -> Result<Self> {
        let shown = place.display().to_string();
        if place.is_file() && has_extension(place, &["csv"]) {
            let (mut images, labels) = list::read_labelled_table(place)?.into_iter().unzip::<_, _, Vec<_>, Vec<_>>();
            let mut source =
                Self { inputs: vec![images.len() as u32], images: std::mem::take(&mut images), classes: Vec::new() };
            source.label(&labels);
            source.images.sort_by_key(|image| image.label);
            return Self::of_classes(source.images, source.classes, &shown);
        }
        if place.is_file() {
            return Err(Error::NoClasses { path: shown });
        }
        if !place.is_dir() {
            return Err(Error::Missing { path: shown });
        }
        let classes: Vec<String> = walk::folders(place)?;
        if classes.is_empty() {
            return Err(Error::NoClasses { path: shown });
        }
        let (mut images, root) = (Vec::new(), Root::folder(place));
        for (label, class) in classes.iter().enumerate() {
            let start = images.len();
            walk::walk(&root, class, &mut images)?;
            images[start..].iter_mut().for_each(|image| image.label = Some(label as u32));
        }
        Self::of_classes(images, classes, &shown)
    }

    fn of_classes(images: Vec<SourceImage>, classes: Vec<String>, shown: &str) -> Result<Self> {
        let inputs = vec![images.len() as u32];
        if images.is_empty() { Err(no_images(shown)) } else { Ok(Self { images, classes, inputs }) }
    }

    /// Gives every image the class of this name; classes are sorted.
    fn label(&mut self, names: &[String]) {
        self.classes = names.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect();
        for (image, name) in self.images.iter_mut().zip(names) {
            image.label = self.classes.binary_search(name).ok().map(|index| index as u32);
        }
    }

    /// Leaves out classes that have no image.
    pub fn drop_empty_classes(&mut self) {
        let name = |image: &SourceImage| self.classes.get(image.label? as usize).cloned();
        if let Some(names) = self.images.iter().map(name).collect::<Option<Vec<String>>>() {
            self.label(&names);
        }
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

/// Finds the images of one input; names begin with its own name unless it is `alone`.
fn open_input(input: &str, alone: bool) -> Result<Vec<SourceImage>> {
    let path = Path::new(input);
    let images = if path.is_dir() {
        open_folder(path, alone)?
    } else if path.is_file() {
        open_file(path, alone)?
    } else if input.contains(['*', '?', '[']) {
        list::expand_glob(input)?
    } else {
        return Err(Error::Missing { path: input.to_string() });
    };
    if images.is_empty() { Err(no_images(input)) } else { Ok(images) }
}

fn open_folder(path: &Path, alone: bool) -> Result<Vec<SourceImage>> {
    let mut images = Vec::new();
    // Equal names in several inputs stay apart by the folders' own names.
    let (folder, name) = if alone { (path, String::new()) } else { split(path) };
    walk::walk(&Root::folder(folder), &name, &mut images)?;
    if images.is_empty() {
        for archive in walk::archives(path)? {
            images.extend(archive::open(&archive, Some(folder))?);
        }
    }
    Ok(images)
}

fn open_file(path: &Path, alone: bool) -> Result<Vec<SourceImage>> {
    if has_extension(path, &["txt", "lst"]) {
        return list::read_list(path);
    }
    if has_extension(path, &["csv"]) {
        return list::read_table(path);
    }
    if archive::is_archive(path) {
        return archive::open(path, if alone { None } else { path.parent() });
    }
    let (folder, name) = split(path);
    Ok(vec![Root::folder(folder).file(name)])
}

/// The folder of a path and its own name, which together are the path again.
fn split(path: &Path) -> (&Path, String) {
    match (path.parent(), path.file_name()) {
        (Some(folder), Some(name)) => (folder, name.to_string_lossy().into_owned()),
        _ => (Path::new(""), path.to_string_lossy().into_owned()),
    }
}

fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).map(str::to_ascii_lowercase);
    extension.is_some_and(|extension| extensions.contains(&extension.as_str()))
}

fn is_image_name(path: &Path) -> bool {
    has_extension(path, &EXTENSIONS)
}

fn no_images(place: &str) -> Error {
    Error::NoImages { place: place.to_string(), extensions: EXTENSIONS.join(", ") }
}
