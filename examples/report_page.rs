//! Writes the page of an invented run, to look at its layout in a browser.
use dinoxide::demo;
use dinoxide::eval::attention::{AttentionMaps, MASS, mass_mask};
use dinoxide::report::attention_sheet::{AttentionRow, SheetStyle, attention_sheet};
use dinoxide::report::chart::Reference;
use dinoxide::report::curves::{KnnPoint, RunCurves, StepPoint, run_charts};
use dinoxide::report::page::{Figure, PlanLine, RunPage, Table, Verdict, VerdictState};
use dinoxide::report::picture::Picture;
use dinoxide::report::sheet::sheet;

fn main() -> anyhow::Result<()> {
    let out = std::env::args().nth(1).unwrap_or_else(|| "report.html".to_string());
    let strings = |words: &[&str]| words.iter().map(|word| word.to_string()).collect::<Vec<String>>();
    let mut rows = Vec::new();
    for index in 0..4 {
        let sample = demo::sample(7, index, 64);
        let heads = (0..3).flat_map(|head| invented_head(&sample.mask, head)).collect();
        let maps = AttentionMaps::new(heads, (8, 8))?;
        rows.push(AttentionRow {
            image: Picture::new(64, 64, sample.pixels)?,
            kept: mass_mask(&maps.mean(), MASS)?,
            maps,
            truth: Some(sample.mask),
        });
    }
    let attention = attention_sheet(&rows, &SheetStyle::default())?;
    let crops: Vec<Vec<Picture>> = rows.iter().map(|row| vec![row.image.resized(96, 96); 7]).collect();
    let names = strings(&["image", "global 1", "global 2", "local 1", "local 2", "local 3", "local 4"]);
    let crops = sheet(&crops, &names);
    let plan = [
        ("images", "4,000 training, 800 validation", "made by the program, seed 0"),
        (
            "network",
            "ViT dim 192, depth 4, patch 8 (1.9 M parameters)",
            "two cores: small enough for 60 steps a minute",
        ),
        ("prototypes K", "1,024", "4,000 images: about a quarter"),
        ("teacher momentum", "0.99 to 1", "1,200 steps: 0.996 would never forget the start"),
        ("batch", "64", ""),
    ];
    let page = RunPage {
        title: "dinoxide demo".to_string(),
        verdict: Verdict {
            state: VerdictState::Healthy,
            sentence: "k-NN 71.3 %, from 13.6 % untrained; attention covers the objects (Jaccard 0.46).".to_string(),
        },
        plan: plan
            .map(|(label, value, reason)| PlanLine { label: label.into(), value: value.into(), reason: reason.into() })
            .to_vec(),
        charts: run_charts(&invented_curves()),
        figures: vec![
            Figure {
                title: "Attention of the class token".into(),
                caption:
                    "Four validation images: mean of the heads, every head, the patches that hold 60 % of the mean, \
                          and the true mask."
                        .into(),
                file: attention.to_png()?,
                film: None,
            },
            Figure {
                title: "What the network trains on".into(),
                caption: "Each row is one image and its crops.".into(),
                file: crops.to_jpeg()?,
                film: None,
            },
        ],
        tables: vec![Table {
            title: "k-NN and attention".into(),
            caption: "Top-1 with k = 20; Jaccard index of the 60 % mask.".into(),
            header: strings(&["", "k-NN top-1, %", "Jaccard, best head", "Jaccard, mean of heads"]),
            rows: vec![
                strings(&["trained teacher", "71.3", "0.46", "0.41"]),
                strings(&["untrained network", "13.6", "0.22", "0.20"]),
                strings(&["pixels", "19.0", "", ""]),
                strings(&["centred ellipse", "", "0.35", "0.35"]),
            ],
        }],
        python: "import timm\nmodel = timm.create_model(\"local-dir:runs/demo/export/timm\", pretrained=True)".into(),
        next_steps: strings(&[
            "dinoxide pretrain ~/Pictures: the same on a folder of your own.",
            "Train longer: --epochs 100.",
        ]),
        command: "dinoxide demo --seed 0 -o runs/demo".into(),
        config_toml: "[model]\npatch_size = 8\nembed_dim = 192\n\n[head]\nout_dim = 1024\n".into(),
        environment: vec![("processor".into(), "2 cores".into()), ("version".into(), "0.1.0".into())],
        ..RunPage::default()
    };
    std::fs::write(out, page.to_html())?;
    Ok(())
}

/// The share of the object in each patch, with a ripple of its own for each head.
fn invented_head(mask: &[u8], head: usize) -> Vec<f32> {
    let share = |patch: usize| {
        let pixel = |n: usize| mask[(patch / 8 * 8 + n / 8) * 64 + patch % 8 * 8 + n % 8];
        (0..64).map(|n| f32::from(pixel(n)) / 255.0).sum::<f32>() / 64.0
    };
    (0..64).map(|patch| share(patch) + 0.3 * ((patch * (head + 3)) as f32).sin().abs()).collect()
}

fn invented_curves() -> RunCurves {
    let steps = (0..1200u32).map(|step| {
        let done = f64::from(step) / 1200.0;
        let ripple = 0.12 * (f64::from(step) * 1.7).sin() * (f64::from(step) * 0.31).cos();
        let entropy = 6.2 - 4.4 * done.sqrt() + ripple;
        let kl = 0.2 + 1.1 * (3.0 * done).min(1.0) - 0.5 * done;
        StepPoint {
            epoch: 20.0 * done,
            loss: entropy + kl,
            entropy: Some(entropy),
            kl: Some(kl),
            lr: 1e-3 * (0.5 + 0.5 * (std::f64::consts::PI * done).cos()) * (done * 20.0).min(1.0),
            weight_decay: 0.04 + 0.36 * done,
            momentum: 0.99 + 0.01 * done,
            teacher_temp: Some(0.04),
        }
    });
    let knn = [13.6, 15.2, 22.4, 35.0, 47.1, 55.9, 62.0, 66.2, 69.4, 71.0, 71.3];
    RunCurves {
        steps: steps.collect(),
        knn: knn.iter().enumerate().map(|(n, &top1)| KnnPoint { epoch: 2.0 * n as f64, top1 }).collect(),
        accuracy: Vec::new(),
        knn_references: vec![
            Reference::new("chance 12.5 %", 12.5),
            Reference::new("untrained 13.6 %", 13.6),
            Reference::new("pixels 19.0 %", 19.0),
        ],
        prototypes: Some(1024),
    }
}
