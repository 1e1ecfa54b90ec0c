//! The one blocking thread: syncs to flash and name lookups. It starts with its first job.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::OnceLock;
use std::sync::PoisonError;
use std::thread;

use smol::channel;

type Job = Box<dyn FnOnce() + Send>;

/// The jobs that wait for the thread. No `mpsc`, which brings the code of three kinds of channels for each type.
#[derive(Default)]
struct Queue {
    jobs: Mutex<VecDeque<Job>>,
    came: Condvar,
}

/// Runs `job` on the worker, jobs in the order they came. Dropping the future leaves the job to run.
pub async fn run<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> T {
    let result = Arc::new(Mutex::new(None));
    let slot = Arc::clone(&result);
    done(Box::new(move || {
        let value = job();
        *lock(&slot) = Some(value);
    }))
    .await;
    let value = lock(&result).take();
    match value {
        Some(value) => value,
        // A job runs exactly once, unless it panicked; then so does who waits for it.
        None => panic!("a job of the worker thread panicked"),
    }
}

/// Ready when the job was done or has panicked.
async fn done(job: Job) {
    let (done, ended) = channel::bounded::<()>(1);
    let job: Job = Box::new(move || {
        job();
        // Dropped at the end, panic or not: that is what is waited for.
        drop(done);
    });
    match queue() {
        Some(queue) => {
            lock(&queue.jobs).push_back(job);
            queue.came.notify_one();
        }
        // Without a thread (the process is at its limit) the job is done here: late is better than never.
        None => job(),
    }
    let _ = ended.recv().await;
}

fn queue() -> Option<&'static Queue> {
    static QUEUE: OnceLock<Option<Arc<Queue>>> = OnceLock::new();
    let queue = QUEUE.get_or_init(|| {
        let queue = Arc::<Queue>::default();
        let theirs = Arc::clone(&queue);
        let thread = thread::Builder::new()
            .name("toono-worker".into())
            .stack_size(128 << 10)
            .spawn(move || work(&theirs));
        thread.ok().map(|_| queue)
    });
    queue.as_deref()
}

/// Does the jobs as they come, for ever.
fn work(queue: &Queue) {
    loop {
        let jobs = queue
            .came
            .wait_while(lock(&queue.jobs), |jobs| jobs.is_empty());
        let job = jobs.unwrap_or_else(PoisonError::into_inner).pop_front();
        // Where panics unwind, one ends its job and not those behind it.
        let _ = job.map(|job| catch_unwind(AssertUnwindSafe(job)));
    }
}

/// No job runs while one of these locks is held, so a panic leaves nothing half done in them.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_run_elsewhere_and_in_order() {
        let here = thread::current().id();
        smol::block_on(async {
            assert_ne!(run(|| thread::current().id()).await, here);
            let (sender, receiver) = channel::unbounded();
            for n in 0..100 {
                let sender = sender.clone();
                run(move || sender.try_send(n).expect("open")).await;
            }
            drop(sender);
            for n in 0..100 {
                assert_eq!(receiver.recv().await, Ok(n));
            }
        });
    }
}
