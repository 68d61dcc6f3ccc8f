//! What to say when the networks wait for images: which stage limits, and what can be done.

use dinoxide_views::Times;

use super::machine;
use crate::config::Config;

/// Share of the time spent waiting from which on it is worth a word.
const TOO_LONG: f64 = 0.1;

/// A hint, if the share `waited` of the time is too long; `times` is where the workers' time went.
pub fn hint(waited: f64, times: &Times, config: &Config) -> Option<String> {
    let total = times.total().as_secs_f64();
    if waited <= TOO_LONG || total <= 0.0 {
        return None;
    }
    let share = |seconds: f64| 100.0 * seconds / total;
    let (read, decode) = (share(times.read.as_secs_f64()), share(times.decode.as_secs_f64()));
    let views = 100.0 - read - decode;
    let limit = if read >= decode && read >= views {
        "the disk limits: copy the images to a local disk, or into a few .tar files".to_owned()
    } else if decode >= views {
        let side = 2 * config.views.global.size;
        format!(
            "decoding limits: copies with a shorter side of {side} px would be read faster, a larger data.cache_mb keeps more"
        )
    } else {
        "augmentation limits: fewer local crops (views.local.count) or smaller ones would be made faster".to_owned()
    };
    let (workers, cores) = (config.data.workers, machine::cores());
    let more = if workers < cores {
        format!("; or more threads: --workers {cores} instead of {workers}")
    } else {
        String::new()
    };
    Some(format!(
        "waiting for images takes {:.0} % of the time; of a worker's time {read:.0} % goes into reading files, {decode:.0} % into \
         decoding, {views:.0} % into views: {limit}{more}",
        100.0 * waited
    ))
}
