//! Networks from what is stored: a configuration, a run folder, a file of weights.
//!
//! | file | gives |
//! |---|---|
//! | `mod.rs` | a trained network with everything needed to show it images |
//! | `convnet.rs` | the sizes of ResNets and XCiTs from their tensors |
//! | `recognise.rs` | the sizes of a network from the names and shapes of its tensors, and the metadata that states them |
//! | `method.rs` | the method of a configuration |
//! | `initial.rs` | weights to start a run from |
//!
//! **Invariant:** every tensor is accounted for; nothing stays at a random value unless it is said.

use std::path::Path;
use std::sync::Arc;

use dinoxide_engine::kernels::{Kernels, Normalize};
use dinoxide_engine::params::{Layout, Params};
use dinoxide_engine::tensor::Pool;
use dinoxide_views::{EvalTransform, Reading};

use super::RunError;
use super::folder::{CONFIG_FILE, stored_config};
use super::input::{ImageSize, Network};
use super::validation::{eval_transform, reading};
use crate::checkpoint::folder::is_model_folder;
use crate::checkpoint::{Loaded, MANIFEST_FILE, NamedTensor, Section, load, load_latest, match_names, names, read_any};
use crate::config::Config;
use crate::eval::features::Frozen;
use crate::methods::dino::HEAD;
use crate::nn::backbone::{Backbone, BackboneConfig};
use crate::nn::init::Registry;

mod convnet;
mod initial;
mod method;
mod recognise;

pub(super) use initial::stored_head;
pub use initial::{InitError, InitialWeights, TakenOver, Wanted};
pub use method::{backbone_config, build, dino_config};
pub(super) use recognise::name_of;
pub use recognise::{Metadata, metadata, recognise};

/// Folder of the checkpoints in a run folder.
pub(super) const CHECKPOINTS: &str = "checkpoints";
/// What a file may hold beside a backbone: the heads of DINO and of the other methods, of timm, of torchvision's ResNets, of transformers, and of DINOv2.
pub(super) const IGNORED: [&str; 9] =
    [HEAD, "projector.", "predictor.", "prototypes.", "fc.", "classifier.", "pooler.", "dino_head.", "ibot_head."];
/// Tokens of one forward pass: enough to fill the machine, few enough for a laptop's memory.
const TOKENS_AT_ONCE: usize = 6400;
/// Pixels of a network without tokens that take about as much memory as a token.
const PIXELS_OF_A_TOKEN: usize = 256;
/// Images of one forward pass, however small they are.
const MOST_IMAGES_AT_ONCE: usize = 256;

/// A trained backbone and how images are shown to it.
#[derive(Debug, Clone)]
pub struct Model {
    /// The network.
    pub backbone: Backbone,
    /// Its weights, under the official names without a prefix.
    pub params: Params,
    /// How images are brought to size unless the user says otherwise.
    pub transform: EvalTransform,
    /// The form of the images.
    pub reading: Reading,
    /// What the user should know about the weights.
    pub notices: Vec<String>,
}

impl Model {
    /// Loads MODEL: a run folder, a `.pth` or safetensors file, or a folder of timm or transformers.
    ///
    /// # Errors
    /// If nothing usable is there, or a tensor is missing, unexpected or of another shape.
    pub fn load(path: &Path, network: Network) -> Result<Self, RunError> {
        if is_run(path) { Self::from_run(path, network) } else { Self::from_file(path, network) }
    }

    fn from_run(folder: &Path, network: Network) -> Result<Self, RunError> {
        let (config, loaded) = open_run(folder)?;
        let tensors = part(&loaded, network, folder)?;
        let (backbone, params) = load_backbone(backbone_config(&config)?, &tensors, folder)?;
        let (transform, reading) = (eval_transform(&config), reading(&config));
        Ok(Self { backbone, params, transform, reading, notices: loaded.warning.into_iter().collect() })
    }

    fn from_file(path: &Path, network: Network) -> Result<Self, RunError> {
        let mut file = read_any(path)?;
        let texts = file.texts();
        let tensors = file.network(section(network))?.tensors;
        let config = recognise(&tensors, &texts, path)?;
        let notices = recognise::assumed(&texts, &config);
        let reading = recognise::reading(&texts, config.normalize().mean.len());
        let (backbone, params) = load_backbone(config, &tensors, path)?;
        let transform = recognise::transform(&texts).unwrap_or_default();
        Ok(Self { backbone, params, transform, reading, notices })
    }

    /// The backbone ready to be shown images.
    pub fn frozen<'a>(&'a self, kernels: &'a dyn Kernels<f32>, pool: &'a Pool) -> Frozen<'a> {
        Frozen::new(kernels, pool, &self.backbone, &self.params)
    }

    /// The same weights for pixels of another mean and deviation.
    pub fn normalize_by(&mut self, normalize: Normalize) {
        self.backbone = layout_of(self.backbone.config().with_normalize(normalize)).0;
    }

    /// How images are brought to size: exactly to `image_size`, or the model's own way.
    ///
    /// # Errors
    /// If the size is too large, or smaller than a patch.
    pub fn transform(&self, image_size: Option<ImageSize>) -> Result<EvalTransform, RunError> {
        let transform = match image_size {
            Some(size) => size.to_string().parse()?,
            None => self.transform,
        };
        let ((width, height), patch_size) = (transform.size(), self.backbone.stride());
        if self.backbone.vit().is_some() && (width.min(height) as usize) < patch_size {
            return Err(RunError::SmallerThanPatch { size: format!("{width}x{height}"), patch_size });
        }
        Ok(transform)
    }

    /// Images of the transform's size to compute at once.
    pub fn images_at_once(&self, transform: EvalTransform) -> usize {
        let (width, height) = transform.size();
        let tokens = match self.backbone.vit() {
            Some(vit) => vit.patches(1, height as usize, width as usize).per_image() + vit.config().leading_tokens(),
            None => {
                let (rows, columns) = self.backbone.grid(height as usize, width as usize);
                (width as usize * height as usize).div_ceil(PIXELS_OF_A_TOKEN).max(rows * columns)
            }
        };
        (TOKENS_AT_ONCE / tokens).clamp(1, MOST_IMAGES_AT_ONCE)
    }
}

/// Whether `path` is to be read as a run folder or a checkpoint of one: any folder that is not another program's.
pub(super) fn is_run(path: &Path) -> bool {
    is_ours(path) || path.is_dir() && !is_model_folder(path)
}

/// Whether `path` is a folder that a run has written.
pub(super) fn is_ours(path: &Path) -> bool {
    [CONFIG_FILE, MANIFEST_FILE].into_iter().any(|name| path.join(name).is_file())
}

/// All tensors of the backbone under their official names.
pub(super) fn tensors(model: &Model) -> Vec<NamedTensor> {
    let tensors = model.params.tensors();
    tensors.map(|(spec, values)| NamedTensor::new(&spec.name, spec.shape.clone(), values.to_vec())).collect()
}

/// The configuration and the newest intact checkpoint of a run, or that very checkpoint of it, such as `RUN/checkpoints/best`.
pub(super) fn open_run(folder: &Path) -> Result<(Config, Loaded), RunError> {
    if folder.join(MANIFEST_FILE).exists()
        && let Some(config) = stored_config(&folder.join("../.."))?
    {
        return Ok((config, load(folder)?));
    }
    let config = stored_config(folder)?.ok_or_else(|| RunError::NoModel { path: folder.to_path_buf() })?;
    let loaded = load_latest(&folder.join(CHECKPOINTS))?;
    Ok((config, loaded.ok_or_else(|| RunError::NoCheckpoint { path: folder.to_path_buf() })?))
}

/// One network of a checkpoint, with the names of its tensors as files have them.
pub(super) fn part(loaded: &Loaded, network: Network, folder: &Path) -> Result<Vec<NamedTensor>, RunError> {
    let key = section(network).key();
    let file = loaded.parts.get(key).ok_or_else(|| RunError::NoCheckpoint { path: folder.to_path_buf() })?;
    let mut tensors = file.tensors.clone();
    names::strip_prefixes_of_all(&mut tensors);
    Ok(tensors)
}

/// A network of these sizes with these weights; the head, where there is one, is left out.
///
/// # Errors
/// A tensor is missing, unexpected or of another shape; the message lists all of them.
pub fn load_backbone(
    config: BackboneConfig,
    tensors: &[NamedTensor],
    path: &Path,
) -> Result<(Backbone, Params), RunError> {
    let (backbone, layout) = layout_of(config);
    let layout = Arc::new(layout);
    match_names(&names_and_shapes(&layout), tensors, &IGNORED).into_result(path)?;
    names::check_finite(tensors, path)?;
    // Only now is memory taken: names and shapes of a stranger's file have been checked.
    let mut params = Params::zeros(layout);
    for tensor in tensors {
        if let Some(id) = params.layout().find(&tensor.name) {
            params.get_mut(id).copy_from_slice(&tensor.values);
        }
    }
    Ok((backbone, params))
}

/// Names and shapes of the tensors of a network of these sizes.
pub(super) fn expected_tensors(config: &BackboneConfig) -> Vec<(String, Vec<usize>)> {
    names_and_shapes(&layout_of(config.clone()).1)
}

fn layout_of(config: BackboneConfig) -> (Backbone, Layout) {
    let mut registry = Registry::new();
    (Backbone::new(config, "", &mut registry), registry.into_layout())
}

fn names_and_shapes(layout: &Layout) -> Vec<(String, Vec<usize>)> {
    layout.specs().iter().map(|spec| (spec.name.clone(), spec.shape.clone())).collect()
}

/// The network as files call it.
pub(super) fn section(network: Network) -> Section {
    match network {
        Network::Teacher => Section::Teacher,
        Network::Student => Section::Student,
    }
}
