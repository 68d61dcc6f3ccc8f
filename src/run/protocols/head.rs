//! Linear heads as files: as `eval_linear.py` saves them, and any other file with one linear layer.

use std::path::{Path, PathBuf};

use crate::checkpoint::torch_save::{self, Item};
use crate::checkpoint::{Content, NamedTensor, ROOT, TensorRef, read_any};
use crate::eval::linear::{BestLayer, Course, LinearLayer, MOMENTUM};
use crate::eval::readout::{PatchMean, Readout};
use crate::nn::backbone::BackboneConfig;
use crate::run::RunError;
use crate::run::look::named;

/// Where `eval_linear.py` keeps the layer.
const STATE_DICT: &str = "state_dict";
/// Our own entry beside those of the program: names of the classes.
const CLASSES: &str = "classes";

/// A file that is no head, or not one for these images.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum HeadError {
    /// There is not exactly one linear layer.
    #[error("`{}` is no linear head: it holds {found}, and a `weight` of two dimensions with its `bias` was expected", path.display())]
    NotAHead {
        /// The file.
        path: PathBuf,
        /// What is in it.
        found: String,
    },
    /// The layer takes other features.
    #[error("the head `{}` takes {width} values, and {features}; {hint}", path.display())]
    Width {
        /// The file.
        path: PathBuf,
        /// Values that it takes.
        width: usize,
        /// What is given to it.
        features: String,
        /// What to do.
        hint: String,
    },
    /// The names of its classes are not those of the images.
    #[error("the classes of the head `{}` are not those of the folders: {difference}; give folders of the classes that it was trained for", path.display())]
    Names {
        /// The file.
        path: PathBuf,
        /// Names that only one of them has.
        difference: String,
    },
    /// The layer has other classes.
    #[error("the head `{}` has {head} classes and the images have {images}; give the folder with all its classes as `--train`", path.display())]
    Classes {
        /// The file.
        path: PathBuf,
        /// Its classes.
        head: usize,
        /// Those of the images.
        images: usize,
    },
}

impl HeadError {
    /// For a head whose classes are not those of the images.
    pub(super) fn names(path: &Path, lacks: &[String], more: &[String]) -> Self {
        let words = |what: &str, names: &[String]| (!names.is_empty()).then(|| format!("{what} {}", named(names)));
        let difference = [words("it lacks", lacks), words("it alone has", more)];
        let difference = difference.into_iter().flatten().collect::<Vec<_>>().join(", and ");
        Self::Names { path: path.to_path_buf(), difference }
    }
}

/// A head that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Head {
    /// The layer.
    pub layer: LinearLayer,
    /// Names of its classes, if the file has them.
    pub classes: Option<Vec<String>>,
}

/// Writes the best layer as `eval_linear.py` writes its checkpoints: `epoch`, `state_dict`, `optimizer`, `scheduler`, `best_acc`, and
/// the names of the classes.
///
/// # Errors
/// If the file cannot be written.
pub fn write_head(path: &Path, best: &BestLayer, course: &Course, classes: &[String]) -> Result<(), RunError> {
    let shape = [best.layer.classes(), best.layer.dim()];
    let tensors = |layer| tensors_of(layer, &shape);
    let ([weight, bias], [weight_momentum, bias_momentum]) = (tensors(&best.layer), tensors(&best.momentum));
    let rate = course.scaled_rates()[best.rate];
    let now = rate * course.factor(best.epoch);
    let moment = |tensor| Item::dict([("momentum_buffer", Item::Tensor(tensor))]);
    let group = Item::dict([
        ("lr", Item::Float(now)),
        ("momentum", Item::Float(f64::from(MOMENTUM))),
        ("dampening", Item::Float(0.0)),
        ("weight_decay", Item::Float(0.0)),
        ("nesterov", Item::Bool(false)),
        ("maximize", Item::Bool(false)),
        ("foreach", Item::None),
        ("differentiable", Item::Bool(false)),
        ("fused", Item::None),
        ("initial_lr", Item::Float(rate)),
        ("params", Item::List(vec![Item::Int(0), Item::Int(1)])),
    ]);
    let state = Item::Dict(vec![(Item::Int(0), moment(weight_momentum)), (Item::Int(1), moment(bias_momentum))]);
    let scheduler = Item::dict([
        ("T_max", Item::Int(course.epochs as i64)),
        ("eta_min", Item::Float(0.0)),
        ("base_lrs", Item::List(vec![Item::Float(rate)])),
        ("last_epoch", Item::Int(best.epoch as i64)),
        ("_step_count", Item::Int(best.epoch as i64 + 1)),
        ("_last_lr", Item::List(vec![Item::Float(now)])),
    ]);
    let file = Item::dict([
        ("epoch", Item::Int(best.epoch as i64)),
        (
            STATE_DICT,
            Item::dict([("module.linear.weight", Item::Tensor(weight)), ("module.linear.bias", Item::Tensor(bias))]),
        ),
        ("optimizer", Item::dict([("state", state), ("param_groups", Item::List(vec![group]))])),
        ("scheduler", scheduler),
        ("best_acc", Item::Float(best.accuracy.top1)),
        (CLASSES, Item::List(classes.iter().cloned().map(Item::Text).collect())),
    ]);
    Ok(torch_save::write(path, &file)?)
}

fn tensors_of<'a>(layer: &'a LinearLayer, shape: &'a [usize; 2]) -> [TensorRef<'a>; 2] {
    [
        TensorRef { name: "linear.weight", shape, values: &layer.weight },
        TensorRef { name: "linear.bias", shape: &shape[..1], values: &layer.bias },
    ]
}

/// Reads a head: one that was written here, a released one of DINO or DINOv2, or any file with one linear layer, whatever comes before `weight` and
/// `bias` in its names.
///
/// # Errors
/// If the file cannot be read, or does not hold exactly one linear layer.
pub fn read_head(path: &Path) -> Result<Head, RunError> {
    let file = read_any(path)?;
    let (tensors, classes) = match file.into_content() {
        Content::Safetensors(file) => (file.tensors, None),
        Content::Pytorch(mut file) => {
            let sections = file.section_names();
            let wanted = [STATE_DICT, ROOT].into_iter().find(|wanted| sections.iter().any(|name| name == wanted));
            let section = wanted.map(str::to_owned).or_else(|| sections.first().cloned()).unwrap_or_default();
            let names = (0..).map_while(|class| file.scalars().get(&format!("{CLASSES}.{class}")).cloned());
            let names: Vec<String> = names.collect();
            let tensors = if sections.is_empty() { Vec::new() } else { file.tensors(&section)? };
            (tensors, (!names.is_empty()).then_some(names))
        }
    };
    let layer = layer_of(&tensors).ok_or_else(|| {
        let named = tensors.iter().take(4).map(|tensor| format!("`{}` {:?}", tensor.name, tensor.shape));
        let found = match tensors.len() {
            0 => "no tensor".to_owned(),
            count => format!("{count} tensors, such as {}", named.collect::<Vec<_>>().join(", ")),
        };
        HeadError::NotAHead { path: path.to_path_buf(), found }
    })?;
    let classes = classes.filter(|names| names.len() == layer.classes());
    Ok(Head { layer, classes })
}

/// The one linear layer among tensors.
fn layer_of(tensors: &[NamedTensor]) -> Option<LinearLayer> {
    let [first, second] = tensors else { return None };
    let (weight, bias) = if first.shape.len() == 2 { (first, second) } else { (second, first) };
    let prefix = weight.name.strip_suffix("weight")?;
    let fits = bias.name.strip_suffix("bias") == Some(prefix)
        && weight.shape.len() == 2
        && bias.shape == weight.shape[..1]
        && !weight.values.is_empty();
    fits.then(|| LinearLayer { weight: weight.values.clone(), bias: bias.values.clone() })
}

/// Whether a head takes what `readout` gives of a network.
///
/// # Errors
/// [`HeadError::Width`] if not; it says which readouts would do.
pub fn check_width(
    path: &Path,
    layer: &LinearLayer,
    config: &BackboneConfig,
    readout: Readout,
) -> Result<(), HeadError> {
    let width = layer.dim();
    if width == readout.dim(config) {
        return Ok(());
    }
    let depth = config.vit().map_or(1, |vit| vit.depth);
    let kinds = [PatchMean::None, PatchMean::Interleaved, PatchMean::Appended];
    let all = (1..=depth).flat_map(|blocks| kinds.map(|patches| Readout { blocks, patches }));
    let fitting = all.filter(|readout| readout.check(config).is_ok() && readout.dim(config) == width);
    let options = fitting.map(|readout| {
        let patches = match readout.patches {
            PatchMean::None => "none",
            PatchMean::Interleaved => "interleaved",
            PatchMean::Appended => "appended",
        };
        format!("`--blocks {} --patches {patches}`", readout.blocks)
    });
    let options: Vec<String> = options.collect();
    let hint = match options.is_empty() {
        true => "it belongs to another network".to_owned(),
        false => format!("try {}", options.join(" or ")),
    };
    let features = format!("the features are the {}", readout.words(config));
    Err(HeadError::Width { path: path.to_path_buf(), width, features, hint })
}
