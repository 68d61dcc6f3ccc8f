//! The charts of a DINO run: which curves go together, and the lines to read them against.

use super::chart::{Chart, Reference, Series};

/// One logged training step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepPoint {
    /// Epochs done, with the fraction of the current one.
    pub epoch: f64,
    /// Mean cross-entropy between teacher and student, in nats.
    pub loss: f64,
    /// Mean entropy of the teacher's output, in nats.
    pub entropy: f64,
    /// Loss minus entropy, in nats.
    pub kl: f64,
    /// Learning rate.
    pub lr: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// Momentum of the teacher.
    pub momentum: f64,
    /// Temperature of the teacher.
    pub teacher_temp: f64,
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
    /// Horizontal lines of the k-NN chart, such as chance, pixels and the untrained network, in percent.
    pub knn_references: Vec<Reference>,
    /// Number of prototypes K of the head: its logarithm is the loss of a collapsed network.
    pub prototypes: usize,
}

/// The charts of a run, the most telling first.
pub fn run_charts(curves: &RunCurves) -> Vec<Chart> {
    let mut charts = Vec::new();
    if !curves.knn.is_empty() {
        charts.push(knn_chart(curves));
    }
    charts.push(loss_chart(curves));
    charts.push(balance_chart(curves));
    charts.push(schedule(curves, ("Learning rate", "lr"), |step| step.lr));
    charts.push(schedule(curves, ("Weight decay", "weight decay"), |step| step.weight_decay));
    charts.push(schedule(curves, ("Teacher momentum", "momentum"), |step| step.momentum));
    charts.push(schedule(curves, ("Teacher temperature", "temperature"), |step| step.teacher_temp));
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

fn loss_chart(curves: &RunCurves) -> Chart {
    Chart {
        title: "Loss".to_string(),
        caption: "A loss that stays at ln K is a collapse: teacher and student give every prototype the same share."
            .to_string(),
        x_label: "epoch".to_string(),
        y_label: "nats".to_string(),
        series: vec![series(curves, "loss", |step| step.loss)],
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

fn schedule(curves: &RunCurves, (title, name): (&str, &str), value: impl Fn(&StepPoint) -> f64) -> Chart {
    Chart {
        title: title.to_string(),
        x_label: "epoch".to_string(),
        series: vec![series(curves, name, value)],
        ..Chart::default()
    }
}

fn series(curves: &RunCurves, name: &str, value: impl Fn(&StepPoint) -> f64) -> Series {
    Series::new(name, curves.steps.iter().map(|step| (step.epoch, value(step))).collect())
}

fn log_prototypes(curves: &RunCurves) -> Vec<Reference> {
    match curves.prototypes {
        0 | 1 => Vec::new(),
        prototypes => {
            let level = (prototypes as f64).ln();
            vec![Reference::new(format!("ln {prototypes} = {level:.2}"), level)]
        }
    }
}
