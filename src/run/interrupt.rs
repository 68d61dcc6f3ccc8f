//! Signals: finish the step, save, go.
//!
//! The first SIGINT, SIGTERM or SIGUSR1 (SLURM's warning before the end of the allotment) asks for a stop, which the
//! loop looks for between steps. A second SIGINT, a person who will not wait, ends the process at once; every file is
//! written atomically, so none is harmed. Schedulers send SIGTERM more than once, so that one never cuts a save short.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};

/// Exit code after a person's SIGINT.
pub const EXIT_INTERRUPTED: u8 = 130;
/// Exit code after a scheduler's SIGTERM or SIGUSR1: saved, run the same command again (`EX_TEMPFAIL` of sysexits.h).
pub const EXIT_REQUEUE: u8 = 75;

/// Whether a stop was asked for, and by whom.
#[derive(Debug, Clone, Default)]
pub struct Interrupt {
    flag: Arc<AtomicBool>,
    scheduler: Arc<AtomicBool>,
}

impl Interrupt {
    /// Listens for signals from now on.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn install() -> std::io::Result<Self> {
        let interrupt = Self::default();
        // Before the flag is raised below: at the first SIGINT the shutdown finds it still down.
        let code = i32::from(EXIT_INTERRUPTED);
        signal_hook::flag::register_conditional_shutdown(SIGINT, code, Arc::clone(&interrupt.flag))?;
        signal_hook::flag::register(SIGINT, Arc::clone(&interrupt.flag))?;
        for signal in OF_SCHEDULERS {
            signal_hook::flag::register(*signal, Arc::clone(&interrupt.scheduler))?;
            signal_hook::flag::register(*signal, Arc::clone(&interrupt.flag))?;
        }
        // Without a handler, a limit on file sizes would kill the process; with one, the write fails and says so.
        #[cfg(unix)]
        signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default())?;
        Ok(interrupt)
    }

    /// Asks for a stop, as a first SIGINT does: for keys that a terminal in raw mode does not make a signal of.
    pub fn request(&self) {
        self.flag.store(true, Ordering::SeqCst);
    }

    /// Whether a stop was asked for.
    pub fn requested(&self) -> bool {
        self.flag.load(Ordering::SeqCst)
    }

    /// Whether it was a scheduler that asked, which will start the run again.
    pub fn by_scheduler(&self) -> bool {
        self.scheduler.load(Ordering::SeqCst)
    }
}

#[cfg(unix)]
const OF_SCHEDULERS: &[i32] = &[SIGTERM, signal_hook::consts::SIGUSR1];
#[cfg(not(unix))]
const OF_SCHEDULERS: &[i32] = &[SIGTERM];
