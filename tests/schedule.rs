//! Schedules against the reference program's arrays (DINO, `utils.py:cosine_scheduler`).
#![expect(clippy::unwrap_used, reason = "a failed preparation is a failed test")]

use dinoxide::config::Config;
use dinoxide::schedule::{Pace, Schedule, cosine, temperatures, warmup_steps};

fn schedule(epochs: usize, steps_per_epoch: usize) -> (Config, Schedule) {
    let mut config = Config::default();
    config.run.epochs = epochs;
    config.run.batch = 256;
    config.optim.warmup_epochs = 10.0;
    config.dino.freeze_last_layer_steps = steps_per_epoch;
    let schedule = Schedule::new(&config, steps_per_epoch);
    (config, schedule)
}

#[test]
fn learning_rate_starts_at_zero_peaks_twice_and_stays_above_its_end() {
    let (config, schedule) = schedule(100, 7);
    let lr = |step| schedule.at(step, &Pace::default()).unwrap().lr;
    assert_eq!(schedule.planned_steps(), 700);
    assert_eq!(lr(0), 0.0);
    assert_eq!(lr(69), config.peak_lr());
    assert_eq!(lr(70), config.peak_lr());
    assert!(lr(71) < lr(70));
    assert!(lr(699) > config.optim.min_lr);
    assert!(schedule.at(700, &Pace::default()).is_none());
}

#[test]
fn peak_is_scaled_by_the_batch_and_the_end_is_not() {
    let (mut config, _) = schedule(100, 7);
    config.run.batch = 1024;
    assert_eq!(config.peak_lr(), 4.0 * 5e-4);
    let values = cosine([config.peak_lr(), config.optim.min_lr], 1_000_000, 0);
    assert!((values[999_999] - 1e-6).abs() < 1e-9);
}

#[test]
fn momentum_starts_at_its_value_and_rises_towards_one() {
    let (_, schedule) = schedule(100, 7);
    assert_eq!(schedule.at(0, &Pace::default()).unwrap().momentum, 0.996);
    let last = schedule.at(699, &Pace::default()).unwrap().momentum;
    assert!(last < 1.0 && last > 0.99999);
}

#[test]
fn weight_decay_rises_without_warmup() {
    let (_, schedule) = schedule(100, 7);
    // 0.4 − 0.36 in the order of the reference: one rounding away from 0.04.
    assert!((schedule.at(0, &Pace::default()).unwrap().weight_decay - 0.04).abs() < 1e-15);
    let middle = schedule.at(350, &Pace::default()).unwrap().weight_decay;
    assert!((middle - 0.22).abs() < 1e-12, "{middle}");
}

#[test]
fn cosine_follows_its_formula() {
    // 0.1 + 0.5 · (1 − 0.1) · (1 + cos(π · 1 / 4)) for j = 1 of M = 4.
    let values = cosine([1.0, 0.1], 6, 2);
    assert_eq!(&values[..3], [0.0, 1.0, 1.0]);
    assert!((values[3] - 0.868_198_051_533_946_4).abs() < 1e-15);
    assert!((values[4] - 0.55).abs() < 1e-15);
}

#[test]
fn temperature_rises_over_thirty_values_inclusive() {
    let values = temperatures([0.04, 0.07], 30, 100);
    assert_eq!((values.len(), values[0], values[29], values[30], values[99]), (100, 0.04, 0.07, 0.07, 0.07));
    assert!((values[1] - (0.04 + 0.03 / 29.0)).abs() < 1e-15);
    assert_eq!(temperatures([0.04, 0.07], 0, 2), [0.07, 0.07]);
    assert_eq!(temperatures([0.04, 0.07], 1, 2), [0.04, 0.07]);
}

#[test]
fn temperature_is_constant_within_an_epoch() {
    let (mut config, _) = schedule(100, 7);
    config.dino.teacher_temp = [0.04, 0.07];
    config.dino.teacher_temp_warmup_epochs = 30;
    let schedule = Schedule::new(&config, 7);
    let temperature = |step| schedule.at(step, &Pace::default()).unwrap().teacher_temp;
    assert_eq!(temperature(0), temperature(6));
    assert!(temperature(7) > temperature(6));
    assert_eq!(temperature(29 * 7), 0.07);
}

#[test]
fn prototypes_are_frozen_for_the_first_steps_only() {
    let (_, schedule) = schedule(100, 7);
    assert!(schedule.at(6, &Pace::default()).unwrap().freeze_last_layer);
    assert!(!schedule.at(7, &Pace::default()).unwrap().freeze_last_layer);
}

#[test]
fn warmup_may_be_a_fraction_of_an_epoch_and_never_leaves_the_run() {
    assert_eq!((warmup_steps(0.3, 10), warmup_steps(0.0, 10), warmup_steps(2.5, 4)), (3, 0, 10));
    let mut config = Config::default();
    config.run.epochs = 2;
    config.optim.warmup_epochs = 10.0;
    assert_eq!(Schedule::new(&config, 5).planned_steps(), 10);
}

/// Arrays written by `parity/generate/schedule.py`.
fn fixture() -> Option<serde_json::Value> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/parity/fixtures/schedule/schedules.json");
    let Ok(text) = std::fs::read_to_string(path) else {
        println!("no {path}: not compared");
        return None;
    };
    Some(serde_json::from_str(&text).unwrap())
}

fn largest_difference(ours: &[f64], theirs: &serde_json::Value) -> f64 {
    let theirs: Vec<f64> = theirs.as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect();
    assert_eq!(ours.len(), theirs.len());
    ours.iter().zip(theirs).map(|(ours, theirs)| (ours - theirs).abs()).fold(0.0, f64::max)
}

#[test]
fn cosine_equals_the_reference_arrays() {
    let Some(fixture) = fixture() else { return };
    for case in fixture["cosine"].as_array().unwrap() {
        let number = |key: &str| case[key].as_f64().unwrap();
        let per_epoch = number("steps_per_epoch") as usize;
        let warmup = warmup_steps(number("warmup_epochs"), per_epoch);
        let ours = cosine([number("base"), number("final")], number("epochs") as usize * per_epoch, warmup);
        // One unit in the last place of 1: the cosine of two mathematics libraries.
        assert!(largest_difference(&ours, &case["values"]) <= 1.2e-16 * 2.0, "{case}");
    }
}

#[test]
fn temperatures_equal_the_reference_arrays() {
    let Some(fixture) = fixture() else { return };
    for case in fixture["teacher_temp"].as_array().unwrap() {
        let number = |key: &str| case[key].as_f64().unwrap();
        let whole = |key: &str| number(key) as usize;
        let ours = temperatures([number("start"), number("end")], whole("warmup_epochs"), whole("epochs"));
        assert_eq!(largest_difference(&ours, &case["values"]), 0.0, "{case}");
    }
}

#[test]
fn another_pace_ends_the_schedule_where_it_is_asked_to_without_a_jump() {
    let mut config = Config::default();
    (config.run.epochs, config.run.steps, config.optim.warmup_epochs) = (10, Some(950), 1.0);
    let schedule = Schedule::new(&config, 100);
    let planned = Pace::default();
    assert_eq!((schedule.planned_steps(), schedule.total_steps(&planned)), (950, 950));
    for left in [1, 7, 300, 551, 849, 2000] {
        let pace = planned.ending_in(left, 400, 950);
        let total = schedule.total_steps(&pace);
        assert_eq!(total, 400 + left);
        assert_eq!(schedule.at(400, &pace), schedule.at(400, &planned), "where it changes, nothing jumps");
        assert!(schedule.at(total, &pace).is_none());
        let last = schedule.at(total - 1, &pace).unwrap();
        let end = schedule.at(949, &planned).unwrap().lr;
        // The last step stands for all places that are left: with 300 steps for 550 places, almost two.
        let places = (550 / left + 1) as f64;
        assert!(last.lr - end < places * places * 2e-9 || left < 10, "{left}: {} against {end}", last.lr);
        // Changed once more, it still ends where it is asked to.
        let again = pace.ending_in(5, total - 1, 950);
        assert_eq!(schedule.total_steps(&again), total + 4);
    }
}
