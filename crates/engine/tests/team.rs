//! Threads that stay awake, and tasks they share.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

use dinoxide_engine::cpu::Cpu;
use dinoxide_engine::kernels::Kernels;
use dinoxide_engine::team::{Awake, for_each};

#[expect(clippy::expect_used, reason = "without threads there is nothing to test")]
fn pool(threads: usize) -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads start")
}

#[test]
fn every_task_runs_once() {
    for threads in [1, 2, 5] {
        pool(threads).install(|| {
            for count in [0, 1, 3, 100] {
                let _awake = Awake::new();
                let runs: Vec<AtomicUsize> = (0..count).map(|_| AtomicUsize::new(0)).collect();
                for_each(count, |index| {
                    runs[index].fetch_add(1, Ordering::Relaxed);
                });
                assert!(runs.iter().all(|run| run.load(Ordering::Relaxed) == 1), "{threads} threads, {count} tasks");
            }
        });
    }
}

#[test]
fn a_panic_in_a_task_reaches_the_caller() {
    for threads in [1, 2, 5] {
        for bad in [0, 7, 19] {
            let run = || for_each(20, |index| assert!(index != bad, "task {bad}"));
            let outcome = pool(threads).install(|| {
                let _awake = Awake::new();
                catch_unwind(AssertUnwindSafe(run))
            });
            assert!(outcome.is_err(), "{threads} threads, task {bad}");
        }
    }
}

/// Kernels whose tasks wait for each other, right after the threads have been told to stay awake: again and again, since a
/// thread that is caught within a task would hang once in a while.
#[test]
fn nobody_is_caught_within_a_task() {
    let cpu = Cpu::new();
    let x = vec![1.0f32; 200_000];
    for threads in [2, 3, 8] {
        pool(threads).install(|| {
            for _ in 0..300 {
                let _outer = Awake::new();
                assert_eq!(cpu.sum_of_squares(&x), 200_000.0);
                let _inner = Awake::new();
                assert_eq!(cpu.sum_of_squares(&x), 200_000.0);
            }
        });
    }
}
