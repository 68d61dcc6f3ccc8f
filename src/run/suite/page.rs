//! `comparison.html`: models side by side, with the numbers of the paper.

use std::path::Path;

use super::figures::{Figure, Role};
use super::{Comparison, EvaluationResult, ModelResults};
use crate::eval::published;
use crate::report::bars::{Bar, Bars, Tone};
use crate::report::page::{RunPage, Table, Verdict, VerdictState};
use crate::run::RunError;
use crate::run::look::write_page;
use crate::run::progress::grouped;

/// Numbers of the paper in a chart at most; the tables have all.
const MOST_PUBLISHED: usize = 6;
/// What stands where nothing is known.
const NOTHING: &str = "–";

/// Writes the page.
///
/// # Errors
/// If it cannot be written.
pub(super) fn write(comparison: &Comparison, path: &Path) -> Result<(), RunError> {
    let evaluations = names(comparison);
    let mut tables = vec![side_by_side(comparison, &evaluations)];
    tables.extend(throughput(comparison));
    tables.extend(failed(comparison));
    tables.extend(published(comparison, &evaluations));
    tables.extend(deviations(comparison));
    let environment = &comparison.environment;
    let page = RunPage {
        title: "Models compared".to_owned(),
        verdict: verdict(comparison),
        bars: evaluations.iter().filter_map(|name| bars(comparison, name)).chain(speed_bars(comparison)).collect(),
        tables,
        command: environment.command.join(" "),
        environment: vec![
            ("processor".to_owned(), format!("{}, {} cores", environment.cpu, environment.cores)),
            ("system".to_owned(), environment.system.clone()),
            ("dinoxide".to_owned(), environment.version.clone()),
            ("suite".to_owned(), comparison.suite.display().to_string()),
        ],
        ..RunPage::default()
    };
    write_page(path, &page)
}

/// Names of the evaluations in their order.
fn names(comparison: &Comparison) -> Vec<String> {
    let longest = comparison.models.iter().max_by_key(|model| model.evaluations.len());
    longest.into_iter().flat_map(|model| &model.evaluations).map(|result| result.name.clone()).collect()
}

/// An evaluation of every model that has it.
fn results<'a>(
    comparison: &'a Comparison,
    name: &'a str,
) -> impl Iterator<Item = (&'a ModelResults, &'a EvaluationResult)> {
    let of = move |model: &'a ModelResults| Some((model, model.evaluations.iter().find(|result| result.name == name)?));
    comparison.models.iter().filter_map(of)
}

fn verdict(comparison: &Comparison) -> Verdict {
    let all: usize = comparison.models.iter().map(|model| model.evaluations.len()).sum();
    let broken = comparison.models.iter().flat_map(|model| &model.evaluations);
    let broken = broken.filter(|result| result.error.is_some()).count();
    let speed = comparison.models.iter().filter_map(|model| model.throughput.as_ref());
    let broken = broken + speed.filter(|speed| speed.error.is_some()).count();
    let models = comparison.models.len();
    let counted = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let sentence = format!("{} of {}", counted(all, "evaluation"), counted(models, "model"));
    match broken {
        0 => Verdict { state: VerdictState::Neutral, sentence },
        _ => Verdict { state: VerdictState::Warning, sentence: format!("{sentence}; {broken} failed, see below") },
    }
}

/// A chart of an evaluation's main figure: models above the numbers of the paper and the floors.
fn bars(comparison: &Comparison, name: &str) -> Option<Bars> {
    let main = |result: &EvaluationResult| result.figures.iter().find(|figure| figure.role == Role::Main).cloned();
    let shown: Vec<(usize, &ModelResults, Figure)> = comparison
        .models
        .iter()
        .enumerate()
        .filter_map(|(place, model)| {
            let result = model.evaluations.iter().find(|result| result.name == name)?;
            Some((place, model, main(result)?))
        })
        .collect();
    let (_, first) = results(comparison, name).find(|(_, result)| result.error.is_none())?;
    let figure = main(first)?;
    let mut bars: Vec<Bar> = shown
        .iter()
        .map(|(place, model, figure)| Bar { name: model.name.clone(), value: figure.value, tone: Tone::Series(*place) })
        .collect();
    let floors =
        first.figures.iter().filter(|figure| figure.role == Role::Floor && figure.name != "untrained, best head");
    bars.extend(floors.map(|floor| Bar { name: floor.name.clone(), value: floor.value, tone: Tone::Floor }));
    // Of one figure: others would be another question.
    let asked = first.published.first().map(|row| &row.figure);
    let of_paper = first.published.iter().filter(|row| Some(&row.figure) == asked).take(MOST_PUBLISHED);
    bars.extend(of_paper.map(|row| Bar {
        name: format!("{} (paper)", row.network),
        value: row.value,
        tone: Tone::Published,
    }));
    let on = first.published.first().map(|row| format!("Numbers of the paper: {}. ", row.figure)).unwrap_or_default();
    let caution = "Only equal data, sizes and options make numbers comparable.";
    Some(Bars {
        title: if *name == first.protocol {
            format!("{name}: {}", figure.name)
        } else {
            format!("{name} ({}): {}", first.protocol, figure.name)
        },
        caption: if first.published.is_empty() { String::new() } else { format!("{on}{caution}") },
        unit: figure.unit.to_owned(),
        bars,
    })
}

fn speed_bars(comparison: &Comparison) -> Option<Bars> {
    let speed = |(place, model): (usize, &ModelResults)| {
        let value = model.throughput.as_ref()?.images_per_second?;
        let size = model.throughput.as_ref()?.image_size.as_deref()?;
        Some(Bar { name: format!("{}, {size}", model.name), value, tone: Tone::Series(place) })
    };
    let bars: Vec<Bar> = comparison.models.iter().enumerate().filter_map(speed).collect();
    let caption = place(comparison).map(|place| format!("Forward passes, {place}.")).unwrap_or_default();
    let title = "Throughput".to_owned();
    (!bars.is_empty()).then(|| Bars { title, caption, unit: "im/s".to_owned(), bars })
}

/// Where throughput was measured.
fn place(comparison: &Comparison) -> Option<String> {
    let speed =
        comparison.models.iter().find_map(|model| model.throughput.as_ref().filter(|speed| speed.error.is_none()))?;
    let place = speed.place.as_ref()?;
    let format = match place.precision {
        crate::config::Precision::Bf16 => "bf16",
        _ => "f32",
    };
    Some(format!("{}, {} threads, {format}, batches of {}", place.cpu, place.threads, speed.batch.unwrap_or_default()))
}

fn side_by_side(comparison: &Comparison, evaluations: &[String]) -> Table {
    let mut header = vec!["evaluation".to_owned(), "figure".to_owned()];
    header.extend(comparison.models.iter().map(|model| model.name.clone()));
    let mut rows = Vec::new();
    let network = |model: &ModelResults| model.network.clone().unwrap_or_else(|| NOTHING.to_owned());
    rows.push(row("network", "", comparison.models.iter().map(network)));
    for name in evaluations {
        let mut figures: Vec<&str> = Vec::new();
        for figure in results(comparison, name).flat_map(|(_, result)| &result.figures) {
            if !figures.contains(&figure.name.as_str()) {
                figures.push(&figure.name);
            }
        }
        if figures.is_empty() {
            figures.push("");
        }
        for (line, figure) in figures.iter().enumerate() {
            let cell = |model: &ModelResults| {
                let result = model.evaluations.iter().find(|result| result.name == *name);
                let value = |result: &EvaluationResult| {
                    let found = result.figures.iter().find(|own| own.name == *figure);
                    match (found, &result.error) {
                        (Some(found), _) => format!("{:.2} {}", found.value, found.unit),
                        (None, Some(_)) => "failed".to_owned(),
                        (None, None) => NOTHING.to_owned(),
                    }
                };
                result.map_or_else(|| NOTHING.to_owned(), value)
            };
            let first = if line == 0 { name.as_str() } else { "" };
            rows.push(row(first, figure, comparison.models.iter().map(cell)));
        }
    }
    let speed = |model: &ModelResults| match model.throughput.as_ref() {
        Some(speed) if speed.error.is_some() => "failed".to_owned(),
        Some(speed) => {
            speed.images_per_second.map_or_else(|| NOTHING.to_owned(), |value| format!("{value:.1} images/s"))
        }
        None => NOTHING.to_owned(),
    };
    if comparison.models.iter().any(|model| model.throughput.is_some()) {
        rows.push(row("throughput", "forward passes", comparison.models.iter().map(speed)));
    }
    Table { title: "Side by side".to_owned(), header, rows, ..Table::default() }
}

fn row(first: &str, second: &str, cells: impl Iterator<Item = String>) -> Vec<String> {
    [first.to_owned(), second.to_owned()].into_iter().chain(cells).collect()
}

/// Speed and size of every model, and the paper's.
fn throughput(comparison: &Comparison) -> Option<Table> {
    let own = comparison.models.iter().filter_map(|model| {
        let speed = model.throughput.as_ref().filter(|speed| speed.error.is_none())?;
        Some(vec![
            model.name.clone(),
            format!("{:.1}", speed.images_per_second?),
            speed.image_size.clone().unwrap_or_default(),
            speed.parameters.map(|count| grouped(count as usize)).unwrap_or_default(),
            "measured here".to_owned(),
        ])
    });
    let mut rows: Vec<Vec<String>> = own.collect();
    if rows.is_empty() {
        return None;
    }
    rows.extend(published::THROUGHPUT.iter().map(|row| {
        let source = format!("paper, {}: V100, batches of 128", row.source);
        vec![row.network.to_owned(), format!("{:.0}", row.value), "224x224".to_owned(), String::new(), source]
    }));
    let header = ["network", "images/s", "size", "parameters", "where"].map(str::to_owned).to_vec();
    let caption = place(comparison)
        .map(|place| format!("Here: {place}; medians of forward passes of images that lie decoded in memory."));
    Some(Table { title: "Throughput".to_owned(), caption: caption.unwrap_or_default(), header, rows })
}

fn failed(comparison: &Comparison) -> Option<Table> {
    let mut rows = Vec::new();
    for model in &comparison.models {
        let evaluations = model.evaluations.iter().map(|result| (result.name.as_str(), &result.error));
        let speed = model.throughput.iter().map(|speed| ("throughput", &speed.error));
        for (name, error) in evaluations.chain(speed) {
            rows.extend(error.iter().map(|error| vec![model.name.clone(), name.to_owned(), error.clone()]));
        }
    }
    let header = ["model", "evaluation", "error"].map(str::to_owned).to_vec();
    let caption = "The same command tries these again, and leaves the others as they are.".to_owned();
    (!rows.is_empty()).then(|| Table { title: "Failed".to_owned(), caption, header, rows })
}

fn published(comparison: &Comparison, evaluations: &[String]) -> Option<Table> {
    let mut rows: Vec<Vec<String>> = Vec::new();
    for name in evaluations {
        for row in results(comparison, name)
            .find_map(|(_, result)| (!result.published.is_empty()).then_some(&result.published))
            .into_iter()
            .flatten()
        {
            let row = vec![row.figure.clone(), row.network.clone(), format!("{:.1}", row.value), row.source.clone()];
            if !rows.contains(&row) {
                rows.push(row);
            }
        }
    }
    let header = ["figure", "network", "value", "where"].map(str::to_owned).to_vec();
    (!rows.is_empty()).then(|| Table { title: "Numbers of the paper".to_owned(), header, rows, ..Table::default() })
}

/// Where evaluations differ from the original programs.
fn deviations(comparison: &Comparison) -> Option<Table> {
    let mut rows: Vec<Vec<String>> = Vec::new();
    for model in &comparison.models {
        for result in &model.evaluations {
            for deviation in &result.deviations {
                rows.push(vec![model.name.clone(), result.name.clone(), deviation.clone()]);
            }
        }
    }
    let header = ["model", "evaluation", "how"].map(str::to_owned).to_vec();
    let title = "Differs from the original programs".to_owned();
    (!rows.is_empty()).then(|| Table { title, header, rows, ..Table::default() })
}
