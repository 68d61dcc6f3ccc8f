//! The figures of a protocol's `results.json` that models are compared by.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A figure of an evaluation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    /// What was measured.
    pub name: String,
    /// The number.
    pub value: f64,
    /// Its unit.
    pub unit: &'static str,
    /// Whether it is what the protocol is known for.
    pub role: Role,
}

/// What a figure is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// What the protocol is known for.
    Main,
    /// Something beside it.
    Further,
    /// What a blind guess or an untrained network reaches.
    Floor,
}

/// A number of the paper, as a protocol wrote it down.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PublishedFigure {
    /// The network.
    pub network: String,
    /// What was measured, and on what.
    pub figure: String,
    /// The number.
    pub value: f64,
    /// Where it stands.
    pub source: String,
}

/// The unit of all protocols.
const PERCENT: &str = "%";

/// The figures of a protocol, the main one first.
pub fn figures(protocol: &str, results: &Value) -> Vec<Figure> {
    match protocol {
        "knn" => knn(results),
        "logreg" => logreg(results),
        "retrieval" => retrieval(results),
        "copy" => copy(results),
        "video" => named(results, &[("/j_and_f", "J&F"), ("/j/mean", "J"), ("/f/mean", "F")], &[]),
        "segmentation" => named(
            results,
            &[("/jaccard", "Jaccard, best head"), ("/jaccard_mean_heads", "Jaccard, mean of the heads")],
            &[("/untrained", "untrained, best head"), ("/ellipse", "centred ellipse"), ("/foreground", "all pixels")],
        ),
        // Linear layers, fine-tuning, and what is yet to come.
        _ => named(results, &[("/top1", "top-1"), ("/top5", "top-5")], &[]),
    }
}

fn percent(name: impl Into<String>, value: f64, role: Role) -> Figure {
    Figure { name: name.into(), value, unit: PERCENT, role }
}

/// Figures at known places; the first one is the main one.
fn named(results: &Value, figures: &[(&str, &str)], floors: &[(&str, &str)]) -> Vec<Figure> {
    let all = figures.iter().map(|row| (row, Role::Further)).chain(floors.iter().map(|row| (row, Role::Floor)));
    let found = all.filter_map(|(&(place, name), role)| Some(percent(name, results.pointer(place)?.as_f64()?, role)));
    with_main(found.collect())
}

/// The first figure as the main one.
fn with_main(mut figures: Vec<Figure>) -> Vec<Figure> {
    if let Some(first) = figures.first_mut().filter(|first| first.role == Role::Further) {
        first.role = Role::Main;
    }
    figures
}

fn knn(results: &Value) -> Vec<Figure> {
    let headline = results["confusion_k"].as_u64().unwrap_or_default().to_string();
    let tops = results["top1"].as_object().into_iter().flatten();
    let mut figures: Vec<Figure> = tops
        .filter_map(|(k, top1)| {
            let role = if *k == headline { Role::Main } else { Role::Further };
            Some(percent(format!("top-1, k = {k}"), top1.as_f64()?, role))
        })
        .collect();
    figures.sort_by_key(|figure| figure.role != Role::Main);
    figures
}

fn logreg(results: &Value) -> Vec<Figure> {
    let fits = results["fits"].as_array().into_iter().flatten();
    let several = fits
        .clone()
        .filter_map(|fit| fit["penalty"].as_f64())
        .any(|penalty| results["fits"][0]["penalty"].as_f64() != Some(penalty));
    let name = |fit: &Value| {
        let labels = match &fit["subset"] {
            Value::String(all) => format!("{all} labels"),
            Value::Object(one) => {
                one.iter().map(|(kind, value)| format!("{} {value}", kind.replace('_', " "))).collect()
            }
            _ => "labels".to_owned(),
        };
        let penalty = if several { format!(", penalty {}", fit["penalty"]) } else { String::new() };
        format!("top-1, {labels}{penalty}")
    };
    with_main(fits.filter_map(|fit| Some(percent(name(fit), fit["top1"].as_f64()?, Role::Further))).collect())
}

fn retrieval(results: &Value) -> Vec<Figure> {
    let settings = results["settings"].as_object().into_iter().flatten();
    let mut figures: Vec<Figure> = settings
        .filter_map(|(name, setting)| Some(percent(format!("{name} mAP"), setting["map"].as_f64()?, Role::Further)))
        .collect();
    // Medium is what is mostly cited.
    figures.sort_by_key(|figure| !figure.name.starts_with("medium"));
    with_main(figures)
}

fn copy(results: &Value) -> Vec<Figure> {
    let blocks = results["blocks"].as_array().into_iter().flatten();
    let map = |block: &Value| Some((block["block"].as_str()?.to_owned(), block["map"].as_f64()?));
    let found = blocks.filter_map(map).filter(|(block, _)| block != "original");
    let mut figures: Vec<Figure> =
        found.map(|(block, map)| percent(format!("{block} mAP"), map, Role::Further)).collect();
    figures.sort_by_key(|figure| !figure.name.starts_with("strong"));
    with_main(figures)
}
