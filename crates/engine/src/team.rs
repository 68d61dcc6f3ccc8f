//! The threads of the current rayon pool as a team that works off many short tasks with little waiting.
//!
//! A thread without work goes to sleep within microseconds, and waking it takes longer than many a kernel runs. While an
//! [`Awake`] lives, threads look for work instead; and who shares out tasks with [`for_each`] is not put to sleep by the last
//! of them either.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rayon::Yield;

/// How long the other threads have to answer: a multiple of what waking one takes. On a machine too busy for that, looking
/// for work would only take time from others.
const PATIENCE: Duration = Duration::from_micros(500);

thread_local! {
    /// Whether this thread already keeps its pool awake.
    static KEEPS: Cell<bool> = const { Cell::new(false) };
}

/// Keeps the threads of the current pool from sleeping for as long as it lives.
///
/// For one thread of a pool at a time, the one that calls kernels: create it between two kernels, never within one.
#[derive(Debug, Default)]
pub struct Awake {
    call: Option<Arc<Call>>,
}

/// What the threads of a pool are told.
#[derive(Debug, Default)]
struct Call {
    /// Threads that look for work now.
    answered: AtomicUsize,
    over: AtomicBool,
}

impl Awake {
    /// For the pool that runs the calling thread. Outside of one, where there is one thread only, where another one lives
    /// on this thread, or where the other threads are busy, it does nothing.
    pub fn new() -> Self {
        let others = rayon::current_num_threads() - 1;
        let Some(caller) = rayon::current_thread_index().filter(|_| others > 0 && !KEEPS.get()) else {
            return Self::default();
        };
        let call = Arc::new(Call::default());
        let seen = Arc::clone(&call);
        rayon::spawn_broadcast(move |thread| {
            if thread.index() != caller {
                seen.answered.fetch_add(1, Ordering::Relaxed);
                while !seen.over.load(Ordering::Relaxed) {
                    look_for_work();
                }
            }
        });
        // No task may be given out before all have answered: a thread that found the call while it waits within a task
        // would stay away from that task until the end. Who has not heard it in time finds it over.
        let begun = Instant::now();
        while call.answered.load(Ordering::Relaxed) < others {
            if begun.elapsed() > PATIENCE {
                call.over.store(true, Ordering::Relaxed);
                return Self::default();
            }
            std::hint::spin_loop();
        }
        KEEPS.set(true);
        Self { call: Some(call) }
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        if let Some(call) = &self.call {
            call.over.store(true, Ordering::Relaxed);
            KEEPS.set(false);
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
            let _done = Done(&done);
            task(index);
        }
    };
    rayon::in_place_scope(|scope| {
        (1..threads).for_each(|_| scope.spawn(|_| work()));
        work();
        // The end of the scope waits as well, and makes sure that everything written is seen; but it waits asleep.
        while rayon::current_thread_index().is_some() && done.load(Ordering::Relaxed) < count {
            look_for_work();
        }
    });
}

/// Counts a task when it ends, even if it panics.
struct Done<'a>(&'a AtomicUsize);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn look_for_work() {
    if rayon::yield_now() != Some(Yield::Executed) {
        std::hint::spin_loop();
    }
}
