//! `dinoxide inspect`: what a file of weights holds, and whether this program can use it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::RunError;
use super::input::Network;
use super::model::{
    IGNORED, Metadata, expected_tensors, is_run, name_of, open_run, part, recognise, section, stored_head,
};
use crate::checkpoint::dialect::Dialect;
use crate::checkpoint::family::{Family, family};
use crate::checkpoint::{
    CheckpointError, ElementType, MatchReport, NamedTensor, NetworkTensors, match_names, read_any,
};
use crate::config::HeadConfig;
use crate::nn::backbone::BackboneConfig;

/// What a file of weights holds.
#[derive(Debug, Clone, Serialize)]
pub struct InspectReport {
    /// The file or folder.
    pub path: PathBuf,
    /// Its format in words.
    pub format: String,
    /// Its parts, and how many tensors each has.
    pub sections: BTreeMap<String, usize>,
    /// The network that was asked for, if the file has it.
    pub network: Option<NetworkReport>,
    /// Why there is none.
    pub problem: Option<String>,
    /// What is stated in words: text entries, descriptions in a folder, arguments of the training.
    pub stated: Metadata,
}

/// One network of a file.
#[derive(Debug, Clone, Serialize)]
pub struct NetworkReport {
    /// What kind it is.
    pub family: Family,
    /// Whose names it bears.
    pub names: Dialect,
    /// Tensors of the backbone and whatever else is in its section.
    pub tensors: usize,
    /// Their values.
    pub values: usize,
    /// Tensors by the type in which they are stored.
    pub stored: BTreeMap<String, usize>,
    /// Tensors with values that are NaN or infinite.
    pub not_finite: Vec<String>,
    /// The largest magnitude of a finite value.
    pub largest: f32,
    /// Sizes of the backbone, if it is one that this program has.
    pub backbone: Option<BackboneReport>,
    /// Why it is none.
    pub problem: Option<String>,
    /// Prototypes of DINO's head and layers before them, if there is one.
    pub head: Option<HeadReport>,
}

/// Sizes of a backbone, and how its tensors fit.
#[derive(Debug, Clone, Serialize)]
pub struct BackboneReport {
    /// For example `vit_small_patch16_224`.
    pub name: String,
    /// Width of the features.
    pub embed_dim: usize,
    /// Sizes that only a ViT has.
    #[serde(flatten)]
    pub vit: Option<VitReport>,
    /// Channels of the images.
    pub channels: usize,
    /// Tensors that fit.
    pub matched: usize,
    /// Tensors it needs.
    pub needed: usize,
    /// Tensors that are in the file and not needed: heads.
    pub ignored: usize,
    /// All that does not fit, in words; absent if everything does.
    pub differences: Option<String>,
}

/// Sizes of a ViT.
#[derive(Debug, Clone, Serialize)]
pub struct VitReport {
    /// Blocks.
    pub depth: usize,
    /// Attention heads.
    pub num_heads: usize,
    /// Side of a patch in pixels.
    pub patch_size: usize,
    /// Side of the images whose grid of positions is stored.
    pub image_size: usize,
}

/// Sizes of a projection head.
#[derive(Debug, Clone, Serialize)]
pub struct HeadReport {
    /// Prototypes, K.
    pub out_dim: usize,
    /// Layers before them.
    pub layers: usize,
    /// Width before them.
    pub bottleneck_dim: usize,
}

/// Looks into a run folder, a file of weights or a folder of another program.
///
/// # Errors
/// If nothing that is known is there, or it is damaged.
pub fn inspect(path: &Path, network: Network) -> Result<InspectReport, RunError> {
    if is_run(path) {
        return of_run(path, network);
    }
    let mut file = read_any(path)?;
    let mut stated = file.texts();
    stated.extend(file.training());
    let mut report = InspectReport {
        path: path.to_path_buf(),
        format: file.format().to_owned(),
        sections: file.section_names().into_iter().map(|name| (name.clone(), file.tensor_count(&name))).collect(),
        network: None,
        problem: None,
        stated,
    };
    match file.network(section(network)) {
        Ok(found) => report.network = Some(look(&found, &file.texts(), path)?),
        Err(error @ CheckpointError::NoSection { .. }) => report.problem = Some(error.to_string()),
        Err(error) => return Err(error.into()),
    }
    Ok(report)
}

fn of_run(path: &Path, network: Network) -> Result<InspectReport, RunError> {
    let (config, loaded) = open_run(path)?;
    let tensors = part(&loaded, network, path)?;
    let sections = loaded.parts.iter().map(|(name, file)| (name.clone(), file.tensors.len())).collect();
    let heads = config.model.shape().map(|shape| ("num_heads".to_owned(), shape.num_heads.to_string()));
    let found = NetworkTensors { tensors, dialect: Dialect::Official };
    let network = Some(look(&found, &heads.into_iter().collect(), path)?);
    let step = loaded.state.get("step").map(|step| ("step".to_owned(), step.to_string()));
    Ok(InspectReport {
        path: path.to_path_buf(),
        format: "run of dinoxide".to_owned(),
        sections,
        network,
        problem: None,
        stated: step.into_iter().collect(),
    })
}

fn look(found: &NetworkTensors, texts: &Metadata, path: &Path) -> Result<NetworkReport, RunError> {
    let tensors = &found.tensors;
    let mut stored = BTreeMap::new();
    for tensor in tensors {
        *stored.entry(type_name(tensor.stored)).or_insert(0) += 1;
    }
    let (backbone, problem) = match recognise(tensors, texts, path) {
        Ok(config) => (Some(fit(&config, tensors)), None),
        Err(RunError::NotAVit { reason, .. }) => (None, Some(reason)),
        Err(error) => (None, Some(error.to_string())),
    };
    let finite = tensors.iter().flat_map(|tensor| &tensor.values).filter(|value| value.is_finite());
    let broken = tensors.iter().filter(|tensor| tensor.values.iter().any(|value| !value.is_finite()));
    Ok(NetworkReport {
        family: family(tensors),
        names: found.dialect,
        tensors: tensors.len(),
        values: tensors.iter().map(|tensor| tensor.values.len()).sum(),
        stored,
        not_finite: broken.map(|tensor| tensor.name.clone()).collect(),
        largest: finite.fold(0.0, |most, value| most.max(value.abs())),
        backbone,
        problem,
        head: stored_head(tensors).map(|HeadConfig { out_dim, layers, bottleneck_dim, .. }| HeadReport {
            out_dim,
            layers,
            bottleneck_dim,
        }),
    })
}

fn fit(config: &BackboneConfig, tensors: &[NamedTensor]) -> BackboneReport {
    let expected = expected_tensors(config);
    let report: MatchReport = match_names(&expected, tensors, &IGNORED);
    BackboneReport {
        name: name_of(config),
        embed_dim: config.dim(),
        vit: config.vit().map(|vit| VitReport {
            depth: vit.depth,
            num_heads: vit.num_heads,
            patch_size: vit.patch_size,
            image_size: vit.image_size,
        }),
        channels: config.normalize().mean.len(),
        matched: report.matched.len(),
        needed: expected.len(),
        ignored: report.ignored.len(),
        differences: (!report.is_complete()).then(|| report.to_string()),
    }
}

fn type_name(stored: ElementType) -> String {
    format!("{stored:?}").to_lowercase()
}
