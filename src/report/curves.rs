//! The charts of a run: which curves go together, and the lines to read them against.

use super::chart::{Chart, Reference, Series};

/// One logged training step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepPoint {
    /// Epochs done, with the fraction of the current one.
    pub epoch: f64,
    /// The loss; of DINO the mean cross-entropy between teacher and student, in nats.
    pub loss: f64,
    /// Mean entropy of the targets, in nats, where these are probabilities.
    pub entropy: Option<f64>,
    /// Loss minus entropy, in nats.
    pub kl: Option<f64>,
    /// Learning rate.
    pub lr: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// Momentum of the teacher.
    pub momentum: f64,
    /// Temperature of DINO's teacher.
    pub teacher_temp: Option<f64>,
}

/// One k-NN evaluation during the run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KnnPoint {
    /// Epochs done.
    pub epoch: f64,
    /// Top-1 accuracy of the teacher, in percent.
    pub top1: f64,
}

/// Everything that the charts of a run show.
#[derive(Debug, Clone, Default)]
pub struct RunCurves {
    /// Logged training steps.
    pub steps: Vec<StepPoint>,
    /// Evaluations; the chart is left out when there are none.
    pub knn: Vec<KnnPoint>,
    /// Top-1 of the method's own classifier; the chart is left out when there are none.
    pub accuracy: Vec<KnnPoint>,
    /// Horizontal lines of the k-NN chart, such as chance, pixels and the untrained network, in percent.
    pub knn_references: Vec<Reference>,
    /// Number of prototypes K, where there are some: its logarithm is the loss of a collapsed network.
    pub prototypes: Option<usize>,
}

/// The charts of a run, the most telling first.
pub fn run_charts(curves: &RunCurves) -> Vec<Chart> {
    let mut charts = Vec::new();
    if !curves.knn.is_empty() {
        charts.push(knn_chart(curves));
    }
    if !curves.accuracy.is_empty() {
        charts.push(accuracy_chart(curves));
    }
    charts.push(loss_chart(curves));
    charts.push(balance_chart(curves));
    charts.push(schedule(curves, ("Learning rate", "lr"), |step| Some(step.lr)));
    charts.push(schedule(curves, ("Weight decay", "weight decay"), |step| Some(step.weight_decay)));
    charts.push(schedule(curves, ("Teacher momentum", "momentum"), |step| {
        Some(step.momentum).filter(|kept| *kept > 0.0)
    }));
    charts.push(schedule(curves, ("Teacher temperature", "temperature"), |step| step.teacher_temp));
    // Some methods have no targets with an entropy, no average, no temperature.
    charts.retain(|chart| chart.series.iter().any(|series| !series.points.is_empty()));
    charts
}

fn knn_chart(curves: &RunCurves) -> Chart {
    let points = curves.knn.iter().map(|point| (point.epoch, point.top1)).collect();
    Chart {
        title: "k-NN accuracy of the teacher".to_string(),
        caption:
            "Top-1 on images that training has not seen. It should leave the untrained network and the pixels behind."
                .to_string(),
        x_label: "epoch".to_string(),
        y_label: "top-1, %".to_string(),
        series: vec![Series::new("teacher", points)],
        references: curves.knn_references.clone(),
    }
}

fn accuracy_chart(curves: &RunCurves) -> Chart {
    let points = curves.accuracy.iter().map(|point| (point.epoch, point.top1)).collect();
    Chart {
        title: "Accuracy of the classifier".to_string(),
        caption: "Top-1 on images that training has not seen.".to_string(),
        x_label: "epoch".to_string(),
        y_label: "top-1, %".to_string(),
        series: vec![Series::new("top-1", points)],
        ..Chart::default()
    }
}

fn loss_chart(curves: &RunCurves) -> Chart {
    Chart {
        title: "Loss".to_string(),
        caption: match curves.prototypes {
            Some(_) => "A loss that stays at ln K is a collapse: every prototype gets the same share.".to_string(),
            None => "It may level off long before the features stop improving.".to_string(),
        },
        x_label: "epoch".to_string(),
        y_label: if curves.prototypes.is_some() { "nats".to_string() } else { String::new() },
        series: vec![series(curves, "loss", |step| Some(step.loss))],
        references: log_prototypes(curves),
    }
}

fn balance_chart(curves: &RunCurves) -> Chart {
    Chart {
        title: "Teacher entropy and KL".to_string(),
        caption:
            "Loss = entropy + KL. KL at zero means that nothing is left to learn; entropy at zero, or at ln K, that \
                  the teacher has collapsed."
                .to_string(),
        x_label: "epoch".to_string(),
        y_label: "nats".to_string(),
        series: vec![
            series(curves, "teacher entropy", |step| step.entropy),
            series(curves, "KL teacher to student", |step| step.kl),
        ],
        references: log_prototypes(curves),
    }
}

fn schedule(curves: &RunCurves, (title, name): (&str, &str), value: impl Fn(&StepPoint) -> Option<f64>) -> Chart {
    Chart {
        title: title.to_string(),
        x_label: "epoch".to_string(),
        series: vec![series(curves, name, value)],
        ..Chart::default()
    }
}

fn series(curves: &RunCurves, name: &str, value: impl Fn(&StepPoint) -> Option<f64>) -> Series {
    Series::new(name, curves.steps.iter().filter_map(|step| Some((step.epoch, value(step)?))).collect())
}

fn log_prototypes(curves: &RunCurves) -> Vec<Reference> {
    match curves.prototypes {
        None | Some(0 | 1) => Vec::new(),
        Some(prototypes) => {
            let level = (prototypes as f64).ln();
            vec![Reference::new(format!("ln {prototypes} = {level:.2}"), level)]
        }
    }
}
