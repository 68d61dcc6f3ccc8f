//! What can go wrong with the frames of a video, by what the user has to do about it.

use std::path::PathBuf;

/// A video that cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FilmError {
    /// Video files are read by another program.
    #[error(
        "`{path}` is a video file, which the program `{program}` reads, and it is not installed; install ffmpeg, or make frames on another machine \
         (`ffmpeg -i {path} frames/%05d.png`) and give their folder",
        path = path.display()
    )]
    NoDecoder {
        /// The video.
        path: PathBuf,
        /// What is missing.
        program: &'static str,
    },
    /// Video files are written by another program.
    #[error(
        "`{}` is to be a video file, which the program `ffmpeg` writes, and it is not installed; install it, or end the name in `.gif`, or in nothing for a folder of PNG files",
        path.display()
    )]
    NoEncoder {
        /// The file.
        path: PathBuf,
    },
    /// The other program does not understand the video, or cannot write it.
    #[error("`{program}` cannot {action} `{}`: {said}", path.display())]
    Program {
        /// Its name.
        program: &'static str,
        /// What it was to do.
        action: &'static str,
        /// The video.
        path: PathBuf,
        /// What it said.
        said: String,
    },
    /// There are no frames.
    #[error("`{given}` holds no frame that can be read")]
    NoFrames {
        /// What was given.
        given: String,
    },
    /// The name of the result tells no format.
    #[error("cannot tell the format of `{}`; end its name in `.gif`, `.mp4`, `.webm`, `.mkv`, `.mov`, or in nothing for a folder of PNG files", path.display())]
    Format {
        /// The file.
        path: PathBuf,
    },
    /// PNG files are to go where others are.
    #[error("`{}` is not empty; name another folder, so that nothing is replaced or mixed", path.display())]
    NotEmpty {
        /// The folder.
        path: PathBuf,
    },
    /// What is read would be replaced.
    #[error("`{}` is what the frames are read from; give the video another name", path.display())]
    Itself {
        /// The file.
        path: PathBuf,
    },
    /// Frames of a video differ in size.
    #[error("frame `{name}` has {}x{} pixels, those before {}x{} (width x height); frames of a video have one size, which `--image-size` brings about", found.0, found.1, first.0, first.1)]
    FrameSize {
        /// The frame.
        name: String,
        /// Its width and height.
        found: (u32, u32),
        /// Those of the first frame.
        first: (u32, u32),
    },
    /// A GIF has no such sides.
    #[error("a GIF of {width} x {height} cannot be written: {source}; choose a smaller `--side`")]
    Gif {
        /// Width.
        width: u32,
        /// Height.
        height: u32,
        /// What the encoder says.
        source: gif::EncodingError,
    },
}
