//! The one blocking worker: a thread that runs what may wait for the flash, one job after the other.

use std::sync::OnceLock;
use std::sync::mpsc;

type Job = Box<dyn FnOnce() + Send>;

/// Runs `job` on the worker thread and gives what it returned. The thread is started by the first job and jobs run in
/// the order in which they were handed over. A future that is dropped does not call its job back: a job that was
/// handed over runs to its end.
pub async fn run<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> T {
    let (answer, asked) = smol::channel::bounded(1);
    let packed: Job = Box::new(move || {
        // The asker may be gone; then nobody wants the answer.
        drop(answer.try_send(job()));
    });
    if let Some(jobs) = jobs()
        && let Err(mpsc::SendError(job)) = jobs.send(packed)
    {
        job();
    }
    match asked.recv().await {
        Ok(answered) => answered,
        // The job panicked. The answer will never come, and this side must not make one up.
        Err(_) => std::future::pending().await,
    }
}

fn jobs() -> Option<&'static mpsc::Sender<Job>> {
    static JOBS: OnceLock<mpsc::Sender<Job>> = OnceLock::new();
    Some(JOBS.get_or_init(|| {
        let (sender, receiver) = mpsc::channel::<Job>();
        let started = std::thread::Builder::new()
            .name("worker".into())
            .spawn(move || receiver.into_iter().for_each(|job| job()));
        if let Err(error) = started {
            log::error!("no worker thread, the flash is written in line: {error}");
        }
        sender
    }))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_job_runs_on_another_thread_and_its_answer_comes_back() {
        let here = std::thread::current().id();
        let there = smol::block_on(super::run(|| std::thread::current().id()));
        assert_ne!(here, there);
        assert_eq!(
            there,
            smol::block_on(super::run(|| std::thread::current().id()))
        );
    }
}
