//! `comparison.csv`: a row for each figure of each evaluation of each model.

use std::path::Path;

use super::Comparison;
use crate::run::RunError;
use crate::run::look::write_table;

/// Writes the table.
///
/// # Errors
/// If it cannot be written.
pub(super) fn write_csv(comparison: &Comparison, path: &Path) -> Result<(), RunError> {
    let mut rows = Vec::new();
    for model in &comparison.models {
        let network = model.network.clone().unwrap_or_default();
        let mut row = |evaluation: &str, protocol: &str, figure: [String; 3], error: Option<&String>| {
            let [name, value, unit] = figure;
            let error = error.cloned().unwrap_or_default();
            let (evaluation, protocol) = (evaluation.to_owned(), protocol.to_owned());
            rows.push([model.name.clone(), network.clone(), evaluation, protocol, name, value, unit, error]);
        };
        for result in &model.evaluations {
            for figure in &result.figures {
                let cells = [figure.name.clone(), figure.value.to_string(), figure.unit.to_owned()];
                row(&result.name, &result.protocol, cells, None);
            }
            if result.error.is_some() {
                row(&result.name, &result.protocol, Default::default(), result.error.as_ref());
            }
        }
        if let Some(speed) = &model.throughput {
            let value = speed.images_per_second.map(|value| value.to_string()).unwrap_or_default();
            let figure = ["throughput".to_owned(), value, "images/s".to_owned()];
            row("throughput", "bench infer", figure, speed.error.as_ref());
        }
    }
    let header = ["model", "network", "evaluation", "protocol", "figure", "value", "unit", "error"];
    write_table(path, header, rows.into_iter())
}
