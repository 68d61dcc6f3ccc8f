//! The threads of the current rayon pool as a team that works off many short tasks with little waiting.
//!
//! A thread without work goes to sleep within microseconds, and waking it takes longer than many a kernel runs. While an
//! [`Awake`] lives, threads look for work instead; and who shares out tasks with [`for_each`] is not put to sleep by the last
//! of them either.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rayon::Yield;

/// Keeps the threads of the current pool from sleeping for as long as it lives.
#[derive(Debug, Default)]
pub struct Awake {
    over: Option<Arc<AtomicBool>>,
}

impl Awake {
    /// For the pool that runs the calling thread; outside of one, and where there is one thread only, it does nothing.
    ///
    /// To be held by the one thread that calls kernels, between them and not within one: another thread of the pool that
    /// waits for a task of its own may be caught here until this ends.
    pub fn new() -> Self {
        let Some(caller) = rayon::current_thread_index().filter(|_| rayon::current_num_threads() > 1) else {
            return Self::default();
        };
        let over = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&over);
        rayon::spawn_broadcast(move |thread| {
            while thread.index() != caller && !seen.load(Ordering::Relaxed) {
                look_for_work();
            }
        });
        Self { over: Some(over) }
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        if let Some(over) = &self.over {
            over.store(true, Ordering::Relaxed);
        }
    }
}

/// Runs `task(0)` … `task(count − 1)`, each once, in this order as threads become free.
pub fn for_each(count: usize, task: impl Fn(usize) + Sync) {
    let threads = rayon::current_num_threads().min(count);
    if threads <= 1 {
        return (0..count).for_each(task);
    }
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let work = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                return;
            }
            task(index);
            done.fetch_add(1, Ordering::Relaxed);
        }
    };
    rayon::in_place_scope(|scope| {
        (1..threads).for_each(|_| scope.spawn(|_| work()));
        work();
        // The end of the scope waits as well, but asleep.
        while rayon::current_thread_index().is_some() && done.load(Ordering::Relaxed) < count {
            look_for_work();
        }
    });
}

fn look_for_work() {
    if rayon::yield_now() != Some(Yield::Executed) {
        std::hint::spin_loop();
    }
}
