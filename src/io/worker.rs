//! The one blocking thread: syncs to flash and name lookups. It starts with its first job.

use std::sync::OnceLock;
use std::sync::mpsc;
use std::thread;

use smol::channel;

type Job = Box<dyn FnOnce() + Send>;

/// Runs `job` on the worker, jobs in the order they came. Dropping the future leaves the job to run.
pub async fn run<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, result) = channel::bounded(1);
    let job: Job = Box::new(move || {
        // Nobody waits for it any more: the result is nobody's.
        let _ = done.try_send(job());
    });
    let job = match jobs() {
        Some(jobs) => jobs.send(job).err().map(|refused| refused.0),
        None => Some(job),
    };
    // Without a thread (the process is at its limit) the job is done here: late is better than never.
    if let Some(job) = job {
        job();
    }
    match result.recv().await {
        Ok(value) => value,
        // The sender lives in the job, which runs exactly once, unless it panicked; then so does who waits for it.
        Err(_) => panic!("a job of the worker thread panicked"),
    }
}

fn jobs() -> Option<&'static mpsc::Sender<Job>> {
    static JOBS: OnceLock<Option<mpsc::Sender<Job>>> = OnceLock::new();
    JOBS.get_or_init(|| {
        let (jobs, queue) = mpsc::channel::<Job>();
        let body = move || queue.into_iter().for_each(|job| job());
        thread::Builder::new()
            .name("toono-worker".into())
            .stack_size(128 << 10)
            .spawn(body)
            .ok()
            .map(|_| jobs)
    })
    .as_ref()
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
