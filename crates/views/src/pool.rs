//! A pool of threads that computes numbered items and hands them out in order, a bounded number ahead.
use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// The running pool; dropping it stops the threads after the item each is at.
pub(crate) struct Pool<T> {
    shared: Arc<Shared<T>>,
    threads: Vec<JoinHandle<()>>,
}

/// Which items are computed by how many threads.
pub(crate) struct PoolConfig {
    pub threads: usize,
    /// Items that may be computed or waiting beyond the one handed out last.
    pub ahead: u64,
    pub first: u64,
    /// One past the last item.
    pub end: u64,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    /// Signals workers: there is room.
    room: Condvar,
    /// Signals the consumer: an item is ready, or the pool is closed.
    ready: Condvar,
    ahead: u64,
    end: u64,
}

struct State<T> {
    next: u64,
    handed_out: u64,
    ready: BTreeMap<u64, T>,
    closed: bool,
}

impl<T: Send + 'static> Pool<T> {
    /// Starts the threads, each with its own working memory; fewer run if the system refuses some, none closes the pool.
    pub fn start<M: Default>(config: &PoolConfig, compute: impl Fn(&mut M, u64) -> T + Send + Sync + 'static) -> Self {
        let state = State { next: config.first, handed_out: config.first, ready: BTreeMap::new(), closed: false };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            room: Condvar::new(),
            ready: Condvar::new(),
            ahead: config.ahead.max(1),
            end: config.end,
        });
        let compute = Arc::new(compute);
        let threads: Vec<_> = (0..config.threads.max(1))
            .filter_map(|number| {
                let (shared, compute) = (Arc::clone(&shared), Arc::clone(&compute));
                let thread = std::thread::Builder::new().name(format!("views-{number}"));
                thread.spawn(move || shared.work(&*compute)).ok()
            })
            .collect();
        if threads.is_empty() {
            shared.close();
        }
        Self { shared, threads }
    }

    /// Waits for the next item in order; none after the last one or if a worker is gone.
    pub fn next(&self) -> Option<T> {
        let mut state = self.shared.lock();
        loop {
            let wanted = state.handed_out;
            if let Some(item) = state.ready.remove(&wanted) {
                state.handed_out += 1;
                self.shared.room.notify_one();
                return Some(item);
            }
            if state.closed || wanted >= self.shared.end {
                return None;
            }
            state = self.shared.ready.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work<M: Default>(&self, compute: &dyn Fn(&mut M, u64) -> T) {
        let _close_on_panic = CloseOnPanic(self);
        let mut memory = M::default();
        while let Some(number) = self.claim() {
            let item = compute(&mut memory, number);
            self.lock().ready.insert(number, item);
            self.ready.notify_one();
        }
    }

    fn claim(&self) -> Option<u64> {
        let mut state = self.lock();
        loop {
            if state.closed || state.next >= self.end {
                return None;
            }
            if state.next < state.handed_out + self.ahead {
                state.next += 1;
                return Some(state.next - 1);
            }
            state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn close(&self) {
        self.lock().closed = true;
        self.room.notify_all();
        self.ready.notify_all();
    }
}

/// A worker that dies would leave its item missing and the consumer waiting for ever.
struct CloseOnPanic<'a, T>(&'a Shared<T>);

impl<T> Drop for CloseOnPanic<'_, T> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.close();
        }
    }
}

impl<T> Drop for Pool<T> {
    fn drop(&mut self) {
        self.shared.close();
        for thread in self.threads.drain(..) {
            // A panic of the worker has been reported by its hook; there is nothing to add.
            let _ = thread.join();
        }
    }
}
