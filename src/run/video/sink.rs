//! Where frames go: a GIF, a folder of PNG files, or a video file.

use std::io::BufWriter;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::FilmError;
use super::ffmpeg::Encoder;
use crate::report::animation::Animation;
use crate::report::picture::Picture;
use crate::run::RunError;
use crate::run::look::write_file;

/// Endings of files that ffmpeg writes.
const FILES: [&str; 5] = ["mp4", "m4v", "mov", "mkv", "webm"];

/// What is written, and how far it is.
pub(super) struct Sink {
    path: PathBuf,
    fps: f64,
    /// Frames so far.
    pub frames: usize,
    /// Width and height, once they are known.
    pub size: Option<(u32, u32)>,
    writer: Writer,
}

enum Writer {
    Gif(Option<Box<Animation<BufWriter<NamedTempFile>>>>),
    Folder,
    File(Option<Encoder>),
}

impl Sink {
    /// Decides by the name; nothing is written before the first frame.
    ///
    /// # Errors
    /// If the name tells no format, or its folder cannot be made.
    pub fn open(path: &Path, fps: f64) -> Result<Self, RunError> {
        let ending = path.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase);
        let writer = match ending.as_deref() {
            Some("gif") => Writer::Gif(None),
            Some(ending) if FILES.contains(&ending) => Writer::File(None),
            None => Writer::Folder,
            Some(_) => return Err(FilmError::Format { path: path.to_path_buf() }.into()),
        };
        let folder = if matches!(writer, Writer::Folder) { path } else { parent(path) };
        if folder.is_file() {
            return Err(RunError::NotAFolder { path: folder.to_path_buf() });
        }
        std::fs::create_dir_all(folder).map_err(RunError::file("create", folder))?;
        if matches!(writer, Writer::Folder) {
            let mut entries = std::fs::read_dir(folder).map_err(RunError::file("read", folder))?;
            if entries.next().is_some() {
                return Err(FilmError::NotEmpty { path: path.to_path_buf() }.into());
            }
        }
        tempfile::tempfile_in(folder).map_err(RunError::file("write to", folder))?;
        Ok(Self { path: path.to_path_buf(), fps, frames: 0, size: None, writer })
    }

    /// Adds a frame.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn push(&mut self, picture: &Picture) -> Result<(), RunError> {
        let size = (picture.width(), picture.height());
        self.size.get_or_insert(size);
        let (width, height) = size;
        let failed = |source| RunError::from(FilmError::Gif { width, height, source });
        match &mut self.writer {
            Writer::Gif(animation) => {
                if animation.is_none() {
                    let folder = parent(&self.path);
                    let file = NamedTempFile::new_in(folder).map_err(RunError::file("write to", folder))?;
                    let begun = Animation::begin(BufWriter::new(file), size, self.fps).map_err(failed)?;
                    *animation = Some(Box::new(begun));
                }
                if let Some(animation) = animation {
                    animation.push(picture).map_err(failed)?;
                }
            }
            Writer::Folder => {
                let path = self.path.join(format!("{:05}.png", self.frames + 1));
                write_file(&path, &picture.to_png()?)?;
            }
            Writer::File(encoder) => {
                if encoder.is_none() {
                    *encoder = Some(Encoder::begin(&self.path, size, self.fps)?);
                }
                if let Some(encoder) = encoder {
                    encoder.push(picture.rgb())?;
                }
            }
        }
        self.frames += 1;
        Ok(())
    }

    /// Puts what was written in its place.
    ///
    /// # Errors
    /// If that fails.
    pub fn finish(self) -> Result<(), RunError> {
        let writing = |error| RunError::file("write", &self.path)(error);
        match self.writer {
            Writer::Gif(Some(animation)) => {
                let (width, height) = self.size.unwrap_or_default();
                let file = animation.finish().map_err(|source| FilmError::Gif { width, height, source })?;
                let file = file.into_inner().map_err(|error| writing(error.into_error()))?;
                readable(&file).map_err(writing)?;
                file.as_file().sync_all().map_err(writing)?;
                file.persist(&self.path).map_err(|error| writing(error.error))?;
                Ok(())
            }
            Writer::File(Some(encoder)) => encoder.finish(),
            Writer::Gif(None) | Writer::File(None) | Writer::Folder => Ok(()),
        }
    }
}

/// Temporary files belong to their owner alone, finished ones to whom other files belong.
#[cfg(unix)]
fn readable(file: &NamedTempFile) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    const USUAL: u32 = 0o644;
    file.as_file().set_permissions(std::fs::Permissions::from_mode(USUAL))
}

#[cfg(not(unix))]
fn readable(_: &NamedTempFile) -> std::io::Result<()> {
    Ok(())
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
