//! Charts, pictures and pages: sturdy against odd input, self-contained, escaped.

use dinoxide::config::{ModelConfig, Origin};
use dinoxide::eval::attention::AttentionMaps;
use dinoxide::report::attention_sheet::{AttentionRow, SheetStyle, attention_sheet};
use dinoxide::report::bars::{Bar, Bars, Tone};
use dinoxide::report::chart::{Chart, Reference, Series};
use dinoxide::report::curves::{KnnPoint, RunCurves, StepPoint, run_charts};
use dinoxide::report::film::{FilmFrame, film, spread};
use dinoxide::report::page::{Figure, Film, PlanLine, RunPage, Table, Verdict, VerdictState};
use dinoxide::report::picture::{ColourMap, Grid, Picture, PictureError, min_max};
use dinoxide::report::sheet::sheet;
use dinoxide::run::report::{early_rise, nearest};

fn chart_of(points: Vec<(f64, f64)>) -> String {
    Chart { title: "t".into(), series: vec![Series::new("s", points)], ..Chart::default() }.to_inline_svg()
}

#[test]
fn an_empty_chart_says_so() {
    assert!(Chart::default().to_inline_svg().contains("no values yet"));
    assert!(chart_of(vec![]).contains("no values yet"));
    assert!(chart_of(vec![(0.0, f64::NAN), (1.0, f64::INFINITY)]).contains("no values yet"));
}

#[test]
fn no_number_in_a_chart_is_infinite_or_missing() {
    let awkward = [
        vec![(0.0, 1.0)],
        vec![(0.0, 0.0), (1.0, 0.0)],
        vec![(0.0, -3.0), (1.0, -3.0)],
        vec![(0.0, 1e-12), (1.0, 2e-12)],
        vec![(0.0, 1e30), (1.0, -1e30)],
        vec![(5.0, 1.0), (5.0, 2.0)],
        vec![(0.0, f64::NAN), (1.0, 2.0), (2.0, f64::NEG_INFINITY), (3.0, 4.0)],
    ];
    for points in awkward {
        let svg = chart_of(points.clone());
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{points:?}: {svg}");
    }
}

#[test]
fn a_gap_in_the_values_is_a_gap_in_the_line() {
    let gap = chart_of(vec![(0.0, 1.0), (1.0, 2.0), (2.0, f64::NAN), (3.0, 2.0), (4.0, 1.0)]);
    assert_eq!(gap.matches("<polyline").count(), 2);
    let lone = chart_of(vec![(0.0, 1.0), (1.0, 2.0), (2.0, f64::NAN), (3.0, 2.0)]);
    assert_eq!((lone.matches("<polyline").count(), lone.matches("<circle").count()), (1, 1));
}

#[test]
fn long_curves_are_thinned() {
    let svg = chart_of((0..100_000).map(|n| (f64::from(n), f64::from(n).sin())).collect());
    assert!(svg.len() < 20_000, "{} bytes", svg.len());
}

#[test]
fn ticks_are_round_numbers() {
    let svg = chart_of(vec![(0.0, 0.0), (1.0, 83.0)]);
    for label in [">20<", ">40<", ">60<", ">80<"] {
        assert!(svg.contains(label), "{label} in {svg}");
    }
}

#[test]
fn references_are_drawn_and_named() {
    let chart = Chart {
        series: vec![Series::new("loss", vec![(0.0, 5.0), (1.0, 4.0)])],
        references: vec![Reference::new("ln K", 8.3), Reference::new("lost", f64::NAN)],
        ..Chart::default()
    };
    let svg = chart.to_inline_svg();
    assert!(svg.contains("ln K") && !svg.contains("lost") && !svg.contains("NaN"));
    assert!(chart.to_svg_file().contains("prefers-color-scheme: dark"));
}

#[test]
fn a_run_is_shown_against_ln_k_and_the_baselines() {
    let step = StepPoint {
        epoch: 0.0,
        loss: 8.0,
        entropy: Some(7.0),
        kl: Some(1.0),
        lr: 1e-3,
        weight_decay: 0.04,
        momentum: 0.99,
        teacher_temp: Some(0.04),
    };
    let mut curves = RunCurves { steps: vec![step], prototypes: Some(4096), ..RunCurves::default() };
    let without = run_charts(&curves);
    curves.knn = vec![KnnPoint { epoch: 1.0, top1: 30.0 }];
    curves.knn_references = vec![Reference::new("chance", 12.5)];
    let with = run_charts(&curves);
    assert_eq!(with.len(), without.len() + 1);
    assert!(with[0].to_inline_svg().contains("chance"));
    assert!(with.iter().any(|chart| chart.to_inline_svg().contains("ln 4096 = 8.32")));
}

#[test]
fn colour_maps_grow_brighter() {
    for map in [ColourMap::Viridis, ColourMap::Inferno] {
        let brightness: Vec<f32> = (0..=64)
            .map(|n| {
                let [r, g, b] = map.colour(n as f32 / 64.0).map(f32::from);
                0.299 * r + 0.587 * g + 0.114 * b
            })
            .collect();
        assert!(brightness.windows(2).all(|pair| pair[1] > pair[0]), "{map:?}: {brightness:?}");
        assert_eq!(map.colour(f32::NAN), map.colour(0.0));
        assert_eq!(map.colour(7.0), map.colour(1.0));
    }
}

#[test]
fn values_are_normalised_by_their_finite_extent() {
    assert_eq!(min_max(&[2.0, 4.0, 3.0, f32::NAN]), [0.0, 1.0, 0.5, 0.0]);
    assert_eq!(min_max(&[5.0, 5.0]), [0.0, 0.0]);
    assert!(min_max(&[]).is_empty());
}

#[test]
fn a_grid_is_repeated_to_the_picture() {
    let grid = Grid::new(2, 1, vec![0.0, 1.0]).unwrap();
    assert_eq!(grid.upsampled(4, 2), [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0]);
    assert!(matches!(Grid::new(2, 2, vec![0.0; 3]), Err(PictureError::Size { expected: 4, found: 3, .. })));
    assert!(matches!(Picture::new(2, 2, vec![0; 3]), Err(PictureError::Size { expected: 12, .. })));
}

#[test]
fn a_mask_is_red_inside_a_contour_and_leaves_the_rest() {
    let picture = Picture::filled(8, 8, [0, 0, 200]);
    let mask = Grid::new(2, 1, vec![1.0, 0.0]).unwrap();
    let masked = picture.with_mask(&mask);
    assert_eq!(masked.pixel(1, 4), [128, 0, 100]);
    assert_eq!(masked.pixel(6, 4), [0, 0, 200]);
    assert_ne!(masked.pixel(3, 4), masked.pixel(1, 4));
}

#[test]
fn an_attention_sheet_has_a_column_for_each_head() {
    let row = |truth| AttentionRow {
        image: Picture::filled(32, 16, [90, 120, 60]),
        maps: AttentionMaps::new(vec![0.125; 3 * 8], (2, 4)).unwrap(),
        kept: vec![true; 8],
        truth,
    };
    let style = SheetStyle { cell_px: 64, ..SheetStyle::default() };
    let plain = attention_sheet(&[row(None), row(None)], &style).unwrap();
    let with_truth = attention_sheet(&[row(Some(vec![255; 512]))], &style).unwrap();
    // Image, mean, three heads and the mask; six pixels of padding.
    assert_eq!(plain.width(), 6 * 70 + 6);
    assert_eq!(with_truth.width(), 7 * 70 + 6);
    let wrong = AttentionRow { kept: vec![true; 7], ..row(None) };
    assert!(attention_sheet(&[wrong], &style).is_err());
    assert!(attention_sheet(&[], &style).is_ok());
}

#[test]
fn pictures_survive_png() {
    let picture = Picture::from_fn(5, 3, |column, row| [column as u8, row as u8, 9]);
    let read = image::load_from_memory(&picture.to_png().unwrap()).unwrap().to_rgb8();
    assert_eq!(read.into_raw(), picture.rgb());
    assert!(image::load_from_memory(&picture.to_jpeg().unwrap()).is_ok());
    assert!(sheet(&[], &[]).to_png().is_ok());
}

#[test]
fn a_page_escapes_every_text() {
    let evil = || "<script>alert(\"1\")</script> & 'x'".to_string();
    let page = RunPage {
        title: evil(),
        verdict: Verdict { state: VerdictState::Failed, sentence: evil() },
        bars: vec![Bars {
            title: evil(),
            caption: evil(),
            unit: evil(),
            bars: vec![Bar { name: evil(), value: 1.0, tone: Tone::Series(0) }],
        }],
        charts: vec![Chart {
            title: evil(),
            caption: evil(),
            x_label: evil(),
            y_label: evil(),
            series: vec![Series::new(evil(), vec![(0.0, 1.0)])],
            references: vec![Reference::new(evil(), 1.0)],
        }],
        figures: vec![
            Figure {
                title: evil(),
                caption: evil(),
                file: vec![1, 2, 3],
                film: Some(Film { caption: evil(), place: evil(), file: vec![4, 5] }),
            },
            Figure { film: Some(Film { place: evil(), ..Film::default() }), ..Figure::default() },
        ],
        tables: vec![Table { title: evil(), caption: evil(), header: vec![evil()], rows: vec![vec![evil()]] }],
        plan: vec![PlanLine { label: evil(), value: evil(), reason: evil() }],
        python: evil(),
        next_steps: vec![evil()],
        command: evil(),
        config_toml: evil(),
        environment: vec![(evil(), evil())],
        notes: vec![evil()],
        settings: vec![Table { title: evil(), rows: vec![vec![evil()]], ..Table::default() }],
    };
    let html = page.to_html();
    assert!(!html.contains("<script") && !html.contains("alert(\"1\")"));
    assert_eq!(html.matches("&lt;script&gt;").count(), 38);
}

#[test]
fn bars_are_as_long_as_their_numbers() {
    let bar = |value: f64, tone: Tone| Bar { name: "a network".to_owned(), value, tone };
    let list = vec![bar(80.0, Tone::Series(1)), bar(20.0, Tone::Published), bar(f64::NAN, Tone::Floor)];
    let svg =
        Bars { title: "accuracy".to_owned(), unit: "%".to_owned(), bars: list, ..Bars::default() }.to_inline_svg();
    let width = |rect: &str| rect.split(" width=\"").nth(1).unwrap().split('"').next().unwrap().parse::<f64>().unwrap();
    let widths: Vec<f64> = svg.split("<rect").skip(1).map(width).collect();
    assert!((widths[0] / widths[1] - 4.0).abs() < 0.02 && widths[2] <= 1.0, "{widths:?}");
    assert!(svg.contains(">80.0 %<") && svg.contains("not a number") && !svg.contains("NaN"), "{svg}");
}

#[test]
fn a_page_stands_alone() {
    let png = Picture::filled(4, 4, [1, 2, 3]).to_png().unwrap();
    let page = RunPage { figures: vec![Figure { file: png, ..Figure::default() }], ..RunPage::default() };
    let html = page.to_html();
    assert!(html.contains("src=\"data:image/png;base64,") && html.contains("width=\"4\" height=\"4\""));
    assert!(!html.contains("<link") && !html.contains("src=\"http") && !html.contains("url("));
    assert!(html.contains("prefers-color-scheme: dark"));
    assert!(
        !html.contains("Plan") && !html.contains("Curves") && !html.contains("Side by side"),
        "empty parts are left out"
    );
}

/// A sheet of noise beside a square that moves.
fn frame(number: u32, side: u32) -> FilmFrame {
    let noise = |x: u32, y: u32| ((x * 73 + y * 151).wrapping_mul(2_654_435_761) >> 24) as u8;
    let square = |x: u32, y: u32| x > side / 2 && (x - side / 2) / 8 == number && y < 8;
    let colour = |x: u32, y: u32| {
        if square(x, y) {
            [255, 0, 0]
        } else if x > side / 2 {
            [0, 0, 0]
        } else {
            [noise(x, y) & 0xfc; 3]
        }
    };
    FilmFrame { picture: Picture::from_fn(side, side, colour), caption: format!("epoch {number}") }
}

#[test]
fn a_film_has_a_frame_for_each_sheet_and_holds_the_last_one() {
    use image::AnimationDecoder;
    let frames: Vec<FilmFrame> = (0..5).map(|number| frame(number, 160)).collect();
    let file = film(&frames).unwrap();
    let decoder = image::codecs::gif::GifDecoder::new(std::io::Cursor::new(&file)).unwrap();
    let seen = decoder.into_frames().collect_frames().unwrap();
    assert_eq!(seen.len(), 5);
    let waits: Vec<u32> = seen.iter().map(|frame| frame.delay().numer_denom_ms().0).collect();
    assert!(waits[4] >= 2000 && waits[..4].iter().all(|wait| (200..=800).contains(wait)), "{waits:?}");
    for (number, seen) in (0..).zip(&seen) {
        // Every frame is whole, though only what changed was written: noise on the left, one square on the right, words below.
        let picture = seen.buffer();
        assert_eq!((picture.width(), picture.height()), (160, 160 + 22));
        let at = |x: u32, y: u32| picture.get_pixel(x, y).0;
        assert!(
            at(80 + 8 * number + 5, 4)[0] > 200 && at(80 + 8 * ((number + 1) % 5) + 5, 4)[0] < 60,
            "frame {number}"
        );
        let noise = (0..160).filter(|y| at(20, *y)[0] > 128).count();
        assert!((40..120).contains(&noise) && (0..60).any(|x| at(x, 168)[0] > 150), "frame {number}: {noise}");
    }
    // The noise is told once: five frames are hardly larger than one.
    assert!(file.len() < film(&frames[..1]).unwrap().len() * 5 / 4);
    assert!(film(&[]).unwrap().is_empty());
}

#[test]
fn a_long_film_of_noise_stays_small() {
    let noise =
        |number: u32, x: u32, y: u32| (x * 73 + y * 151 + number * 37).wrapping_mul(2_654_435_761).to_be_bytes();
    let frame = |number: u32| {
        let colour = |x: u32, y: u32| [0, 1, 2].map(|channel: usize| noise(number, x, y)[channel]);
        FilmFrame { picture: Picture::from_fn(900, 600, colour), caption: String::new() }
    };
    let frames: Vec<FilmFrame> = (0..20).map(frame).collect();
    let file = film(&frames).unwrap();
    assert!(file.len() < 1_500_000, "{} bytes", file.len());
    assert_eq!(spread(&[0, 1, 2, 3, 4, 5, 6], 3), [&0, &3, &6]);
    assert_eq!((spread(&[0, 1], 5).len(), spread(&[0, 1], 1).len(), spread::<u8>(&[], 3).len()), (2, 1, 0));
}

#[test]
fn readers_start_films_themselves() {
    let file = film(&[frame(0, 64), frame(1, 64)]).unwrap();
    let figure = |file: Vec<u8>| Figure {
        title: "Map".into(),
        film: Some(Film { caption: "what to see".into(), place: "pictures/map.gif".into(), file }),
        ..Figure::default()
    };
    let html = RunPage { figures: vec![figure(file)], ..RunPage::default() }.to_html();
    assert!(
        html.contains("<details><summary>Film")
            && html.contains("data:image/gif;base64,")
            && html.contains("what to see")
    );
    assert!(!html.contains("<details open"));
    let without = RunPage { figures: vec![figure(Vec::new())], ..RunPage::default() }.to_html();
    assert!(!without.contains("image/gif") && without.contains("too large for this page: <code>pictures/map.gif"));
}

#[test]
fn the_nearest_published_network_is_found_by_width_then_patch() {
    let names = |name: &str| {
        let found = nearest(&ModelConfig::named(name, Origin::Flag("--model")).unwrap());
        (found[0].name, found.iter().map(|found| found.epochs).collect::<Vec<_>>())
    };
    assert_eq!(names("vit_tiny_patch16_224"), ("ViT-S/16", vec![100, 300, 800]));
    assert_eq!(names("vit_small_patch14_224"), ("ViT-S/16", vec![100, 300, 800]));
    assert_eq!(names("vit_tiny_patch4_64"), ("ViT-S/8", vec![800]));
    assert_eq!(names("vit_base_patch16_224"), ("ViT-B/16", vec![400]));
    assert_eq!(names("vit_base_patch8_224"), ("ViT-B/8", vec![300]));
    assert_eq!(names("resnet18"), ("ResNet-50", vec![800]));
    assert!(nearest(&ModelConfig { name: "xcit_small_12_p16".to_owned(), ..ModelConfig::default() }).is_empty());
    let last = nearest(&ModelConfig::default())[2];
    assert_eq!((last.knn, last.linear, last.place), (74.5, 77.0, "table 2"));
}

#[test]
fn a_loss_that_rises_early_and_then_falls_is_told_from_others() {
    let curve = |loss: fn(f64) -> f64| (0..200).map(|row| loss(f64::from(row) / 200.0)).collect::<Vec<f64>>();
    // Up from 6 to 7 in the first tenth, then down to 5.
    let hill = |at: f64| if at < 0.1 { 6.0 + 10.0 * at } else { 7.0 - 2.0 * (at - 0.1) / 0.9 };
    let found = early_rise(&curve(hill)).unwrap();
    assert!(
        (found.first - 6.0).abs() < 0.3 && (found.peak - 7.0).abs() < 0.1 && (found.last - 5.1).abs() < 0.1,
        "{found:?}"
    );
    assert!((20..30).contains(&found.row), "{found:?}");
    // Falls from the start; rises to the end; rises late; stays up; rises by less than noise; is no number.
    assert_eq!(early_rise(&curve(|at| 7.0 - at)), None);
    assert_eq!(early_rise(&curve(|at| 6.0 + at)), None);
    assert_eq!(early_rise(&curve(|at| if at < 0.8 { 6.0 } else { 7.0 - 4.0 * (at - 0.8) })), None);
    assert_eq!(early_rise(&curve(|at| 6.0 + (10.0 * at).min(1.0))), None);
    assert_eq!(early_rise(&curve(|at| 6.0 + 0.05 * (1000.0 * at).sin() - at)), None);
    assert_eq!(early_rise(&curve(|at| if at > 0.5 { f64::NAN } else { hill_of(at) })), None);
    // A single high row is none, and a few rows are too few to say.
    let mut spike = curve(|at| 6.0 - at);
    spike[30] = 6.6;
    assert_eq!(early_rise(&spike), None);
    assert_eq!(early_rise(&curve(hill)[..19]), None);
    assert_eq!(early_rise(&[]), None);
}

fn hill_of(at: f64) -> f64 {
    if at < 0.1 { 6.0 + 10.0 * at } else { 7.0 - at }
}

/// Every fifth logged loss of the runs of docs/health.md, "Collapse, redrawn".
const HEALTHY: [f64; 50] = [
    5.82, 5.61, 6.06, 6.47, 6.55, 6.64, 6.72, 6.74, 6.62, 6.59, 6.75, 6.71, 6.64, 6.68, 6.59, 6.63, 6.64, 6.51, 6.44,
    6.56, 6.51, 6.49, 6.35, 6.59, 6.41, 6.40, 6.36, 6.38, 6.37, 6.43, 6.60, 6.52, 6.52, 6.38, 6.58, 6.31, 6.40, 6.55,
    6.53, 6.50, 6.42, 6.48, 6.41, 6.36, 6.42, 6.44, 6.41, 6.19, 6.31, 6.62,
];
const UNIFORM: [f64; 50] = [
    6.89, 7.02, 6.89, 6.91, 6.91, 6.92, 6.92, 6.93, 6.93, 6.93, 6.93, 6.93, 6.93, 6.93, 6.93, 6.93, 6.93, 6.93, 6.93,
    6.93, 6.93, 6.93, 6.93, 6.93, 6.93, 6.93, 6.93, 6.93, 6.93, 6.93, 6.93, 6.93, 6.93, 6.93, 6.93, 6.93, 6.93, 6.93,
    6.93, 6.93, 6.93, 6.93, 6.93, 6.93, 6.93, 6.93, 6.93, 6.93, 6.93, 6.93,
];
const ONE_PROTOTYPE: [f64; 50] = [
    5.17, 2.25, 0.96, 0.67, 0.56, 0.49, 0.39, 0.37, 0.37, 0.22, 0.14, 0.12, 0.12, 0.20, 0.12, 0.11, 0.06, 0.03, 0.01,
    0.01, 0.01, 0.01, 0.01, 0.00, 0.00, 0.00, 0.00, 0.00, 0.00, 0.00, 0.00, 0.00, 0.00, 0.00, 0.00, 0.00, 0.00, 0.00,
    0.00, 0.00, 0.00, 0.00, 0.00, 0.00, 0.00, 0.00, 0.00, 0.00, 0.00, 0.00,
];

#[test]
fn real_runs_are_judged_as_they_should_be() {
    let found = early_rise(&HEALTHY).unwrap();
    assert!(found.peak > found.first + 0.5 && found.last < found.peak - 0.2, "{found:?}");
    assert_eq!((early_rise(&UNIFORM), early_rise(&ONE_PROTOTYPE)), (None, None));
}
