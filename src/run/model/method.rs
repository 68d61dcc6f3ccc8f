//! The one place that chooses a method.

use dinoxide_engine::kernels::Normalize;
use dinoxide_engine::params::Params;

use crate::config::{
    Centering, Config, ConfigError, DinoObjective, MethodConfig, MethodName, ModelConfig, Origin, TeacherWeights,
};
use crate::methods::barlow_twins::{BarlowTwins, BarlowTwinsConfig};
use crate::methods::byol::{Byol, ByolConfig};
use crate::methods::center::Balance;
use crate::methods::deepcluster::{DeepCluster, DeepClusterConfig};
use crate::methods::dino::{Dino, DinoConfig, Objective, Predictor, Teacher};
use crate::methods::ibot::{Ibot, IbotConfig};
use crate::methods::moco::{Moco, MocoConfig, Negatives};
use crate::methods::obow::{Obow, ObowConfig};
use crate::methods::simclr::{Simclr, SimclrConfig};
use crate::methods::supervised::{Supervised, SupervisedConfig};
use crate::methods::swav::{Swav, SwavConfig};
use crate::methods::{EncoderConfig, Method};
use crate::nn::backbone::BackboneConfig;
use crate::nn::dino_head::{DinoHeadConfig, HeadNorm, LastLayer};
use crate::nn::masking::Masking;
use crate::run::RunError;

/// The method of a configuration and the parameters of its student.
///
/// # Errors
/// If the model's name is unknown or an option is missing; a checked configuration has all.
pub fn build(config: &Config) -> Result<(Box<dyn Method>, Params), RunError> {
    let (encoder, options) = (encoder_config(config)?, &config.method);
    let size = |key: &str, value: Option<usize>| value.ok_or_else(|| missing(key));
    let number = |key: &str, value: Option<f64>| value.ok_or_else(|| missing(key));
    let hidden_dim = || size("method.hidden_dim", options.hidden_dim);
    let out_dim = || size("method.out_dim", options.out_dim);
    let layers = || size("method.layers", options.layers);
    let temperature = || number("method.temperature", options.temperature);
    let queue = || size("method.queue", options.queue);
    let moco = |negatives: Negatives| -> Result<MocoConfig, RunError> {
        let (hidden_dim, out_dim, layers) = (hidden_dim()?, out_dim()?, layers()?);
        let (encoder, temperature, jigsaw) = (encoder.clone(), temperature()?, options.jigsaw);
        Ok(MocoConfig { encoder, hidden_dim, out_dim, layers, temperature, negatives, jigsaw })
    };
    Ok(match options.name {
        MethodName::Dino => boxed(Dino::new(dino_config(config)?)),
        MethodName::Ibot | MethodName::Dinov2 => boxed(Ibot::new(ibot_config(config)?)),
        MethodName::Byol => boxed(Byol::new(&ByolConfig { hidden_dim: hidden_dim()?, out_dim: out_dim()?, encoder })),
        MethodName::Simclr => {
            let (hidden_dim, out_dim, layers) = (hidden_dim()?, out_dim()?, layers()?);
            boxed(Simclr::new(&SimclrConfig { encoder, hidden_dim, out_dim, layers, temperature: temperature()? }))
        }
        MethodName::Mocov2 | MethodName::Infomin => boxed(Moco::new(&moco(Negatives::Queue(queue()?))?)),
        MethodName::Mocov3 => boxed(Moco::new(&moco(Negatives::Batch)?)),
        MethodName::Swav => boxed(Swav::new(SwavConfig {
            hidden_dim: hidden_dim()?,
            out_dim: out_dim()?,
            prototypes: size("method.prototypes", options.prototypes)?,
            temperature: temperature()?,
            epsilon: number("method.epsilon", options.epsilon)?,
            queue: queue()?,
            queue_from_epoch: size("method.queue_from_epoch", options.queue_from_epoch)?,
            encoder,
        })),
        MethodName::DeepClusterV2 => boxed(DeepCluster::new(deepcluster_config(encoder, options)?)),
        MethodName::Obow => boxed(Obow::new(&obow_config(encoder, options)?)),
        MethodName::Supervised => {
            let classes = size("method.classes", options.classes)?;
            let label_smoothing = number("method.label_smoothing", options.label_smoothing)?;
            boxed(Supervised::new(&SupervisedConfig { encoder, classes, label_smoothing }))
        }
        MethodName::BarlowTwins => {
            let off_diagonal = number("method.off_diagonal", options.off_diagonal)?;
            boxed(BarlowTwins::new(&BarlowTwinsConfig {
                encoder,
                out_dim: out_dim()?,
                layers: layers()?,
                off_diagonal,
            }))
        }
    })
}

fn boxed<M: Method + 'static>((method, student): (M, Params)) -> (Box<dyn Method>, Params) {
    (Box::new(method), student)
}

fn missing(key: &str) -> RunError {
    let (origin, value, allowed) = (Origin::Derived, "not set".to_owned(), "a value".to_owned());
    ConfigError::BadValue { origin, key: key.to_owned(), value, allowed }.into()
}

fn deepcluster_config(encoder: EncoderConfig, options: &MethodConfig) -> Result<DeepClusterConfig, RunError> {
    Ok(DeepClusterConfig {
        encoder,
        hidden_dim: options.hidden_dim.ok_or_else(|| missing("method.hidden_dim"))?,
        out_dim: options.out_dim.ok_or_else(|| missing("method.out_dim"))?,
        prototypes: options.prototypes.ok_or_else(|| missing("method.prototypes"))?,
        heads: options.heads.ok_or_else(|| missing("method.heads"))?,
        temperature: options.temperature.ok_or_else(|| missing("method.temperature"))?,
        images: options.images.ok_or_else(|| missing("method.images"))?,
    })
}

fn obow_config(encoder: EncoderConfig, options: &MethodConfig) -> Result<ObowConfig, RunError> {
    Ok(ObowConfig {
        encoder,
        hidden_dim: options.hidden_dim.ok_or_else(|| missing("method.hidden_dim"))?,
        temperature: options.temperature.ok_or_else(|| missing("method.temperature"))?,
        words: options.queue.ok_or_else(|| missing("method.queue"))?,
    })
}

/// The backbone of a configuration.
///
/// # Errors
/// [`ConfigError::BadValue`] if the model's name is unknown; a checked configuration has a known one.
pub fn backbone_config(config: &Config) -> Result<BackboneConfig, RunError> {
    let normalize = Normalize { mean: config.data.mean.clone(), std: config.data.std.clone() };
    let unknown = || ConfigError::BadValue {
        origin: Origin::Derived,
        key: "model.name".to_owned(),
        value: config.model.name.clone(),
        allowed: ModelConfig::names().collect::<Vec<_>>().join(", "),
    };
    Ok(config.model.backbone(normalize).ok_or_else(unknown)?)
}

fn encoder_config(config: &Config) -> Result<EncoderConfig, RunError> {
    let backbone = backbone_config(config)?;
    Ok(EncoderConfig { backbone, drop_path: config.model.drop_path, seed: config.run.seed })
}

/// What DINO is made of under this configuration.
///
/// # Errors
/// As [`backbone_config`].
pub fn dino_config(config: &Config) -> Result<DinoConfig, RunError> {
    let encoder = encoder_config(config)?;
    let head = head_config(config, encoder.backbone.dim());
    Ok(DinoConfig {
        encoder,
        head,
        student_temp: config.dino.student_temp,
        balance: balance(config),
        teacher: match config.dino.teacher {
            TeacherWeights::Momentum => Teacher::Momentum,
            TeacherWeights::Student => Teacher::Student,
            TeacherWeights::PreviousStep => Teacher::PreviousStep,
            TeacherWeights::PreviousEpoch => Teacher::PreviousEpoch,
        },
        objective: match config.dino.loss {
            DinoObjective::CrossEntropy => Objective::CrossEntropy,
            DinoObjective::Mse => Objective::Mse,
        },
        predictor: if config.dino.predictor { Predictor::LikeByol } else { Predictor::None },
    })
}

/// The projection head of DINO for features of this width.
fn head_config(config: &Config, in_dim: usize) -> DinoHeadConfig {
    let head = &config.head;
    DinoHeadConfig {
        in_dim,
        out_dim: head.out_dim,
        hidden_dim: head.hidden_dim,
        bottleneck_dim: head.bottleneck_dim,
        layers: head.layers,
        norm: if head.use_bn { HeadNorm::Batch } else { HeadNorm::None },
        last_layer: if head.norm_last_layer { LastLayer::Normalized } else { LastLayer::Free },
    }
}

fn balance(config: &Config) -> Balance {
    match config.dino.centering {
        Centering::Centering => Balance::Center { momentum: config.dino.center_momentum },
        Centering::SinkhornKnopp => Balance::SINKHORN_KNOPP,
        Centering::SoftmaxBatch => Balance::SOFTMAX_BATCH,
        Centering::None => Balance::None,
    }
}

fn ibot_config(config: &Config) -> Result<IbotConfig, RunError> {
    let options = &config.method;
    let BackboneConfig::Vit(vit) = backbone_config(config)? else { return Err(missing("model.mask_token")) };
    let head = head_config(config, vit.embed_dim);
    let out_dim = options.patch_out_dim.ok_or_else(|| missing("method.patch_out_dim"))?;
    let number = |key: &str, value: Option<f64>| value.ok_or_else(|| missing(key));
    Ok(IbotConfig {
        vit,
        drop_path: config.model.drop_path,
        seed: config.run.seed,
        patch_head: (out_dim > 0).then(|| DinoHeadConfig { out_dim, ..head.clone() }),
        head,
        student_temp: config.dino.student_temp,
        balance: balance(config),
        masking: Masking {
            probability: number("method.mask_probability", options.mask_probability)?,
            ratio: options.mask_ratio.ok_or_else(|| missing("method.mask_ratio"))?,
        },
        patch_weight: number("method.patch_weight", options.patch_weight)?,
        koleo_weight: number("method.koleo", options.koleo)?,
    })
}
