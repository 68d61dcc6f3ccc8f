//! The checkpoint of the official program (`main_dino.py`): it goes on from this file, and its evaluations read it.
//!
//! Keys as it writes them: student (always with `module.`), teacher (with it if there is batch normalisation), optimizer, epoch,
//! args, dino_loss. What it keeps nowhere is not here either: the place within an epoch, random states, schedules.

use std::path::Path;

use super::{full_parts, state_dict};
use crate::checkpoint::torch_save::{self, Item};
use crate::checkpoint::{Loaded, NamedTensor, TensorFile, TensorRef};
use crate::config::{Config, OptimizerName};
use crate::methods::BACKBONE;
use crate::methods::dino::{DinoConfig, HEAD};
use crate::nn::backbone::Backbone;
use crate::nn::dino_head::DinoHead;
use crate::nn::init::Registry;
use crate::run::RunError;
use crate::run::model::dino_config;
use crate::run::status::Status;

/// Prefix that `DistributedDataParallel` gives to all names.
const WRAPPER: &str = "module.";
/// Ends of names of running statistics, which are no parameters.
const STATISTICS: [&str; 3] = ["running_mean", "running_var", "num_batches_tracked"];
/// The lengths of the prototypes, which are no parameters where they stay 1.
const LENGTHS: &str = "last_layer.weight_g";

/// Writes the run's newest checkpoint; returns the number of tensors of both networks.
pub fn write(run: &Path, out: &Path) -> Result<usize, RunError> {
    let (config, loaded) = full_parts(run)?;
    if !config.method.name.is_read_by_official_program() || config.dino.predictor {
        return Err(RunError::NotDino);
    }
    let part = |name: &str| loaded.parts.get(name).ok_or_else(|| RunError::NoCheckpoint { path: run.to_path_buf() });
    let (student, teacher, method) = (part("student")?, part("teacher")?, part("method")?);
    let order = names(&dino_config(&config)?);
    let [student, teacher] = [student, teacher].map(|part| in_order(part, &order));
    let updates = loaded.state.get("updates").and_then(|updates| updates.as_array());
    let steps = updates.into_iter().flatten().map(|count| count.as_u64().unwrap_or_default() as f32);
    let steps: Vec<f32> = steps.collect();
    let is_normalised = teacher.iter().any(|tensor| tensor.name.ends_with(STATISTICS[0]));
    let mut entries = vec![
        ("student", state_dict(&student, WRAPPER)),
        ("teacher", state_dict(&teacher, if is_normalised { WRAPPER } else { "" })),
        ("epoch", Item::Int(epochs(run, &loaded)?)),
        ("args", arguments(&config)),
    ];
    if let Some(optim) = loaded.parts.get("optim") {
        entries.push(("optimizer", optimizer(&config, &student, optim, &steps)));
    }
    // What else a teacher of another kind keeps is none of the official loss's.
    let center: Vec<NamedTensor> = method.tensors.iter().filter(|tensor| tensor.name == "center").cloned().collect();
    if !center.is_empty() {
        entries.push(("dino_loss", state_dict(&center, "")));
    }
    torch_save::write(out, &Item::dict(entries))?;
    Ok(student.len() + teacher.len())
}

/// The names of a network's tensors with its head, in the order in which the optimizer and the official program have them.
fn names(config: &DinoConfig) -> Vec<String> {
    let mut registry = Registry::new();
    Backbone::new(config.encoder.backbone.clone(), BACKBONE, &mut registry);
    DinoHead::new(&config.head, HEAD, &mut registry);
    registry.into_layout().specs().iter().map(|spec| spec.name.clone()).collect()
}

/// The tensors in the order of their names; files have counters first.
fn in_order(part: &TensorFile, names: &[String]) -> Vec<NamedTensor> {
    let place = |tensor: &NamedTensor| names.iter().position(|name| *name == tensor.name).unwrap_or(usize::MAX);
    let mut tensors = part.tensors.clone();
    tensors.sort_by_cached_key(place);
    tensors
}

/// Epochs done, which is the number of the next one.
fn epochs(run: &Path, loaded: &Loaded) -> Result<i64, RunError> {
    let step = loaded.state.get("step").and_then(|step| step.as_u64()).unwrap_or_default();
    // A checkpoint lies two folders below its run.
    let status = Status::read(run).or_else(|| Status::read(&run.join("../..")));
    let per_epoch = status.map_or(0, |status| status.steps_per_epoch as u64);
    match step.checked_div(per_epoch) {
        Some(epochs) => Ok(epochs as i64),
        None if step == 0 => Ok(0),
        None => Err(RunError::NoEpoch { path: run.to_path_buf() }),
    }
}

/// The state of `torch.optim`: parameters by number, first those that decay (`utils.py:get_params_groups`).
fn optimizer<'a>(config: &Config, student: &'a [NamedTensor], optim: &'a TensorFile, steps: &'a [f32]) -> Item<'a> {
    let is_parameter = |tensor: &NamedTensor| {
        let fixed = config.head.norm_last_layer && tensor.name.ends_with(LENGTHS);
        !fixed && !STATISTICS.iter().any(|end| tensor.name.ends_with(end))
    };
    let decays = |tensor: &NamedTensor| !tensor.name.ends_with(".bias") && tensor.shape.len() > 1;
    let numbered = || student.iter().zip(steps.chunks(1)).filter(|(tensor, _)| is_parameter(tensor));
    let (regular, bare): (Vec<_>, Vec<_>) = numbered().partition(|(tensor, _)| decays(tensor));
    let count = regular.len();
    let total = count + bare.len();
    let mut state = Vec::new();
    for (index, (tensor, step)) in regular.into_iter().chain(bare).enumerate() {
        let moment = |kind: &str| optim.tensor(&format!("{kind}.{}", tensor.name)).map(|moment| moment.as_tensor_ref());
        if step == [0.0] {
            continue;
        }
        state.push((Item::Int(index as i64), moments(config.optim.name, step, moment)));
    }
    let numbers = |range: std::ops::Range<usize>| Item::List(range.map(|index| Item::Int(index as i64)).collect());
    let [_, decay] = config.optim.weight_decay;
    let groups = vec![group(config, numbers(0..count), decay), group(config, numbers(count..total), 0.0)];
    Item::dict([("state", Item::Dict(state)), ("param_groups", Item::List(groups))])
}

/// What the optimizer keeps of one parameter, under the names that PyTorch's classes, or the official LARS, give to it.
fn moments<'a>(name: OptimizerName, step: &'a [f32], moment: impl Fn(&str) -> Option<TensorRef<'a>>) -> Item<'a> {
    let tensor = |kind: &str| moment(kind).map_or(Item::None, Item::Tensor);
    match name {
        OptimizerName::Adamw => Item::dict([
            ("step", Item::Tensor(TensorRef { name: "step", shape: &[], values: step })),
            ("exp_avg", tensor("exp_avg")),
            ("exp_avg_sq", tensor("exp_avg_sq")),
        ]),
        OptimizerName::Sgd => Item::dict([("momentum_buffer", tensor("exp_avg"))]),
        OptimizerName::Lars => Item::dict([("mu", tensor("exp_avg"))]),
    }
}

/// One group; the program sets rate and decay anew in each step.
fn group<'a>(config: &Config, params: Item<'a>, weight_decay: f64) -> Item<'a> {
    let mut entries = vec![
        ("params", params),
        ("lr", Item::Float(config.optim.lr * config.run.batch as f64 / 256.0)),
        ("weight_decay", Item::Float(weight_decay)),
    ];
    entries.extend(match config.optim.name {
        OptimizerName::Adamw => vec![
            ("betas", Item::Pair(0.9, 0.999)),
            ("eps", Item::Float(1e-8)),
            ("amsgrad", Item::Bool(false)),
            ("maximize", Item::Bool(false)),
            ("foreach", Item::None),
            ("capturable", Item::Bool(false)),
            ("differentiable", Item::Bool(false)),
            ("fused", Item::None),
            ("decoupled_weight_decay", Item::Bool(true)),
        ],
        OptimizerName::Sgd => vec![
            ("momentum", Item::Float(0.9)),
            ("dampening", Item::Float(0.0)),
            ("nesterov", Item::Bool(false)),
            ("maximize", Item::Bool(false)),
            ("foreach", Item::None),
            ("differentiable", Item::Bool(false)),
            ("fused", Item::None),
        ],
        OptimizerName::Lars => vec![("momentum", Item::Float(0.9)), ("eta", Item::Float(0.001))],
    });
    Item::dict(entries)
}

/// The arguments that make the same network; the official program keeps all of its own as a pickled object, which
/// `torch.load(weights_only=True)` refuses.
fn arguments<'a>(config: &Config) -> Item<'a> {
    let whole = |number: usize| Item::Int(number as i64);
    Item::dict([
        ("arch", Item::Text(config.model.dinov2_name().map_or_else(|| config.model.name.clone(), str::to_owned))),
        ("patch_size", whole(config.model.patch_size)),
        ("out_dim", whole(config.head.out_dim)),
        ("norm_last_layer", Item::Bool(config.head.norm_last_layer)),
        ("use_bn_in_head", Item::Bool(config.head.use_bn)),
        ("drop_path_rate", Item::Float(config.model.drop_path)),
        ("epochs", whole(config.run.epochs)),
        ("batch_size_per_gpu", whole(config.run.batch)),
        ("seed", Item::Int(config.run.seed as i64)),
    ])
}
