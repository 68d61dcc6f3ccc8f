//! The hint about a run that waits for its images.

use std::time::Duration;

use dinoxide::config::Config;
use dinoxide::run::waiting::hint;
use dinoxide_views::Times;

fn hint_for(read: u64, decode: u64, blur: u64) -> Option<String> {
    let seconds = Duration::from_secs;
    let times = Times { read: seconds(read), decode: seconds(decode), blur: seconds(blur), ..Times::default() };
    hint(0.25, &times, &Config::default())
}

#[test]
fn the_stage_that_takes_longest_is_named() {
    for (times, words) in [
        ([5, 3, 2], ["50 % goes into reading", "disk limits"]),
        ([1, 3, 2], ["50 % into decoding", "decoding limits"]),
        ([1, 3, 6], ["25 % of the time", "augmentation limits"]),
    ] {
        let text = hint_for(times[0], times[1], times[2]).unwrap_or_default();
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
    }
}

#[test]
fn short_waits_and_idle_workers_get_no_hint() {
    let busy = Times { read: Duration::from_secs(1), ..Times::default() };
    assert_eq!(hint(0.1, &busy, &Config::default()), None);
    assert_eq!(hint_for(0, 0, 0), None);
}
