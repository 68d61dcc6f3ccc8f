//! What can go wrong around a run, and what to do then.

use std::path::PathBuf;

use crate::config::ConfigError;

/// A run that cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration is not usable.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A file of the run cannot be read or written.
    #[error("cannot {action} `{}`", path.display())]
    File {
        /// What was tried, such as `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The folder holds something that is not a run.
    #[error("`{}` is not empty and holds no run (no `config.toml`); choose another folder with `-o`", path.display())]
    NotARun {
        /// The folder.
        path: PathBuf,
    },
    /// A folder that is to be filled is not empty.
    #[error("`{}` is not empty; choose another folder with `-o`", path.display())]
    NotEmpty {
        /// The folder.
        path: PathBuf,
    },
    /// Results are to go into a folder, and the name is that of a file.
    #[error("`{}` is a file; `-o` names a folder", path.display())]
    NotAFolder {
        /// The file.
        path: PathBuf,
    },
    /// The folder holds a run with another configuration.
    #[error(
        "`{path}` holds a run with another configuration:\n{listing}\n\
         choose one of:\n  --resume must   continue that run with its own configuration\n  \
         --overwrite     delete that run and start anew\n  -o OTHER        write to another folder",
        path = path.display(),
        listing = listing(differences)
    )]
    Differs {
        /// The folder.
        path: PathBuf,
        /// `(key, value there, value now)`.
        differences: Vec<(String, String, String)>,
    },
    /// The folder holds a run and resuming was forbidden.
    #[error("`{}` already holds a run; continue it with `--resume auto`, replace it with `--overwrite`, or choose another folder with `-o`", path.display())]
    Exists {
        /// The folder.
        path: PathBuf,
    },
    /// There is no run.
    #[error("no run in `{}`; a run folder has a `config.toml`, and `dinoxide pretrain` makes one", path.display())]
    NoRuns {
        /// The folder.
        path: PathBuf,
    },
    /// No run was evaluated.
    #[error("no run in `{}` was evaluated; `dinoxide pretrain --val DIR` does that while training", path.display())]
    NotEvaluated {
        /// The folder.
        path: PathBuf,
    },
    /// There is no run to resume.
    #[error("nothing to resume: `{}` holds no run; leave `--resume must` away to start one", path.display())]
    NothingToResume {
        /// The folder.
        path: PathBuf,
    },
    /// Another process writes to the folder.
    #[error("`{}` is in use by process {pid} on {host}; wait for it, stop it, or choose another folder with `-o`", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
        /// The process that holds it.
        pid: u32,
        /// Its machine.
        host: String,
    },
    /// The command line names no folder to resume and no data.
    #[error("no images given; name a folder, files or a glob, as in `dinoxide pretrain photos/`")]
    NoData,
    /// The images cannot be used.
    #[error(transparent)]
    Views(#[from] dinoxide_views::Error),
    /// Training failed.
    #[error(transparent)]
    Train(#[from] crate::train::TrainError),
    /// A checkpoint cannot be written or does not fit.
    #[error(transparent)]
    State(#[from] crate::train::state::StateError),
    /// A file of weights cannot be used.
    #[error(transparent)]
    Checkpoint(#[from] crate::checkpoint::CheckpointError),
    /// A run cannot start from its weights.
    #[error(transparent)]
    Init(#[from] super::model::InitError),
    /// An evaluation failed.
    #[error(transparent)]
    Eval(#[from] crate::eval::EvalError),
    /// A linear head cannot be used.
    #[error(transparent)]
    Head(#[from] super::protocols::head::HeadError),
    /// Videos or their masks cannot be used.
    #[error(transparent)]
    Video(#[from] super::protocols::video::VideoDataError),
    /// What is to be found, or among what, cannot be used.
    #[error(transparent)]
    Retrieval(#[from] super::protocols::RetrievalError),
    /// Saved features cannot be used.
    #[error(transparent)]
    Dump(#[from] super::protocols::DumpError),
    /// Copies or their originals cannot be used.
    #[error(transparent)]
    Copy(#[from] super::protocols::CopyError),
    /// Masks or their images cannot be used.
    #[error(transparent)]
    Segmentation(#[from] super::protocols::SegmentationError),
    /// A video cannot be read or written.
    #[error(transparent)]
    Film(#[from] super::video::FilmError),
    /// A suite of evaluations cannot be run, or not all of it.
    #[error(transparent)]
    Suite(#[from] super::suite::SuiteError),
    /// Images cannot be learnt from by their classes.
    #[error(transparent)]
    Labelled(#[from] super::LabelledError),
    /// A picture cannot be drawn.
    #[error(transparent)]
    Picture(#[from] crate::report::picture::PictureError),
    /// The pictures of the demo cannot be made.
    #[error(transparent)]
    Demo(#[from] crate::demo::DemoError),
    /// MODEL is a folder that holds no run.
    #[error("`{}` is a folder without `config.toml` or `config.json`; MODEL is a run folder, a `.safetensors` or `.pth` file, or a folder of timm or transformers", path.display())]
    NoModel {
        /// The folder.
        path: PathBuf,
    },
    /// The name of an export does not tell its format.
    #[error("cannot tell the format of `{}`; end the name in `.safetensors`, `.pth` or `.onnx`, or add `--to timm` or `--to hf` for a folder", path.display())]
    NoExportFormat {
        /// The file or folder.
        path: PathBuf,
    },
    /// SwiGLU of a width that transformers does not have.
    #[error(
        "transformers has no Dinov2Model of width {width} with {hidden} hidden values; write the weights with `--to timm` or `--to safetensors`"
    )]
    NoHuggingFaceModel {
        /// Hidden width.
        hidden: usize,
        /// Token width.
        width: usize,
    },
    /// The format holds a backbone and nothing else.
    #[error(
        "timm, transformers and ONNX files hold a backbone; write the full state with `--to torch` or `--to safetensors`"
    )]
    NoFullFormat,
    /// What an export would replace is a run.
    #[error("`{}` is a run folder, which another program's files would take over; choose another folder with `--out`", path.display())]
    ExportIntoRun {
        /// The folder.
        path: PathBuf,
    },
    /// Only graphs have outputs.
    #[error("`--outputs` are those of an ONNX file; add `--to onnx`, or leave it away")]
    NoOutputs,
    /// The official program counts epochs, and the run does not say how long one is.
    #[error("`{}` does not say how many steps an epoch has, which the official program needs; keep the checkpoint in its run folder, with its `status.json`", path.display())]
    NoEpoch {
        /// The run or checkpoint.
        path: PathBuf,
    },
    /// An export is not the network it was made of.
    #[error("`{}` {what}; export it again", export.display())]
    ExportDiffers {
        /// The export.
        export: PathBuf,
        /// The first difference.
        what: String,
    },
    /// The run has no weights yet.
    #[error("`{}` holds no checkpoint; let the run reach its first one, or resume it", path.display())]
    NoCheckpoint {
        /// The run folder.
        path: PathBuf,
    },
    /// The weights are those of another kind of network.
    #[error("`{}` holds no ViT, ResNet or XCiT that is known: {reason}; `dinoxide inspect` says what it holds", path.display())]
    NotAVit {
        /// The file.
        path: PathBuf,
        /// What gives it away.
        reason: String,
    },
    /// The number of attention heads cannot be told from the weights.
    #[error(
        "`{}` does not say how its width {embed_dim} is divided into attention heads; store the weights as safetensors with \
         the metadata entry `num_heads`",
        path.display()
    )]
    NumHeads {
        /// The file.
        path: PathBuf,
        /// The width.
        embed_dim: usize,
    },
    /// Only ViTs attend to patches.
    #[error(
        "`{model}` has no attention: only ViTs have; `dinoxide pca` and `--what tokens` show what any network makes of the places in an image"
    )]
    NoAttention {
        /// The network.
        model: String,
    },
    /// A format has no such network.
    #[error("{format} has no {network}; write the weights with `--to torch` or `--to safetensors`")]
    NoSuchNetwork {
        /// The format.
        format: &'static str,
        /// The network.
        network: String,
    },
    /// Images of this size hold no patch.
    #[error("images of {size} pixels are smaller than one patch of {patch_size}; choose a larger `--image-size`")]
    SmallerThanPatch {
        /// Width and height asked for.
        size: String,
        /// Side of a patch.
        patch_size: usize,
    },
    /// The full state was asked for, but the model has only a backbone.
    #[error("`{}` is no run folder, so there is no student, head or centre to export; use `--what backbone`", path.display())]
    NoFullState {
        /// The model.
        path: PathBuf,
    },
    /// The full state was asked for in the official program's format, which knows DINO only.
    #[error(
        "the official program reads checkpoints of DINO without a predictor only, and this run is of another method; use \
         `--what backbone`"
    )]
    NotDino,
    /// The run is longer than its schedule.
    #[error("the checkpoint has {done} steps but the data and configuration now give {total}; were images removed?")]
    BeyondSchedule {
        /// Steps done.
        done: usize,
        /// Steps of the schedule.
        total: usize,
    },
    /// A comparison would replace the page of a run.
    #[error("`{}` is a run, and its own page would be replaced; choose another folder with `--out`", path.display())]
    IsARun {
        /// The folder.
        path: PathBuf,
    },
    /// Labelled images that do not suffice.
    #[error(
        "`{path}` has {images} labelled images, too few to vote on each other; give a folder with two or more in `--val`"
    )]
    TooFewLabelled {
        /// The folder or table.
        path: String,
        /// Images with a label.
        images: usize,
    },
    /// So many runs cannot be compared.
    #[error("{found} runs cannot be compared; give one to {most}, as many as there are colours to tell apart")]
    RunCount {
        /// Runs given.
        found: usize,
        /// Most runs.
        most: usize,
    },
    /// What should be a kept step is none.
    #[error("`{}` holds no step that failed; give a folder such as RUN/debug/step-120", path.display())]
    NotABundle {
        /// The folder.
        path: PathBuf,
    },
    /// Another program listens on the port.
    #[error(
        "port {port} of {host} is in use, perhaps by another `dinoxide serve`; choose another one with `--port`, or `--port 0` for any free one"
    )]
    PortInUse {
        /// The address asked for.
        host: String,
        /// The port asked for.
        port: u16,
    },
    /// The address cannot be listened on.
    #[error(
        "cannot listen on port {port} of `{host}`; choose another address with `--host` or another port with `--port`"
    )]
    Listen {
        /// The address asked for.
        host: String,
        /// The port asked for.
        port: u16,
        /// Why.
        source: std::io::Error,
    },
    /// The server cannot go on.
    #[error("the server stopped")]
    Serve {
        /// Why.
        source: std::io::Error,
    },
    /// The threads cannot be started.
    #[error("cannot start the compute threads; try a smaller `run.threads`")]
    Threads {
        /// Why.
        source: rayon::ThreadPoolBuildError,
    },
}

impl RunError {
    /// For `map_err` on file operations.
    pub(crate) fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }

    /// The error with its causes, on one line.
    pub(super) fn on_one_line(&self) -> String {
        let causes = std::iter::successors(std::error::Error::source(self), |cause| cause.source());
        causes.fold(self.to_string(), |text, cause| format!("{text}: {cause}"))
    }
}

fn listing(differences: &[(String, String, String)]) -> String {
    let width = differences.iter().map(|(key, ..)| key.len()).max().unwrap_or(0);
    let line = |(key, there, now): &(String, String, String)| format!("  {key:width$}  {there} there, {now} now");
    differences.iter().map(line).collect::<Vec<_>>().join("\n")
}
