//! "Something has changed", told to any number of waiting tasks of one thread. It carries no value: who is woken looks.

use std::cell::Cell;
use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::task::Waker;

/// A bell: [`notify`](Self::notify) wakes everybody who waits.
#[derive(Debug, Default)]
pub struct Notify {
    count: Cell<u32>,
    waiting: RefCell<Vec<Option<Waker>>>,
    /// Slots of `waiting` whose waiter was dropped.
    free: Cell<usize>,
}

impl Notify {
    /// A bell that nobody waits for.
    pub fn new() -> Self {
        Self::default()
    }

    /// Wakes all who wait.
    pub fn notify(&self) {
        self.count.set(self.count.get().wrapping_add(1));
        self.free.set(0);
        // Taken out first: a waker may run anything, also code that waits again.
        let waiting = self.waiting.take();
        waiting.into_iter().flatten().for_each(Waker::wake);
    }

    /// Ready at the first notification after this call, even when it is polled only later.
    pub fn wait(&self) -> Wait<'_> {
        Wait {
            bell: self,
            count: self.count.get(),
            slot: None,
        }
    }
}

/// See [`Notify::wait`]. Dropping it takes its waker along, so a task that ended is not held by a quiet bell.
#[derive(Debug)]
pub struct Wait<'a> {
    bell: &'a Notify,
    count: u32,
    slot: Option<usize>,
}

impl Wait<'_> {
    /// Our slot; a notification has emptied the list and slots made before it mean nothing.
    fn over(&self) -> bool {
        self.bell.count.get() != self.count
    }
}

impl Future for Wait<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.over() {
            return Poll::Ready(());
        }
        let mut waiting = self.bell.waiting.borrow_mut();
        let slot = match self.slot {
            Some(slot) => slot,
            None if self.bell.free.get() > 0 => {
                self.bell.free.set(self.bell.free.get() - 1);
                let free = waiting.iter().position(Option::is_none);
                free.unwrap_or(waiting.len())
            }
            None => waiting.len(),
        };
        match waiting.get_mut(slot) {
            Some(Some(held)) => held.clone_from(context.waker()),
            Some(empty) => *empty = Some(context.waker().clone()),
            None => waiting.push(Some(context.waker().clone())),
        }
        drop(waiting);
        self.slot = Some(slot);
        Poll::Pending
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.filter(|_| !self.over())
            && let Some(held) = self.bell.waiting.borrow_mut().get_mut(slot)
        {
            *held = None;
            self.bell.free.set(self.bell.free.get() + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering;
    use std::task::Wake;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn every_waiter_is_woken_once_and_a_dropped_one_is_forgotten() {
        let bell = Notify::new();
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        let mut context = Context::from_waker(&waker);
        let (mut a, mut b, early) = (bell.wait(), bell.wait(), bell.wait());
        for wait in [&mut a, &mut b] {
            for _ in 0..2 {
                assert!(Pin::new(&mut *wait).poll(&mut context).is_pending());
            }
        }
        drop(b);
        let mut c = bell.wait();
        assert!(Pin::new(&mut c).poll(&mut context).is_pending());
        assert_eq!(bell.waiting.borrow().len(), 2, "the free slot is used");
        bell.notify();
        assert_eq!(count.0.load(Ordering::Relaxed), 2);
        for mut wait in [a, c, early] {
            assert!(Pin::new(&mut wait).poll(&mut context).is_ready());
        }
        assert!(Pin::new(&mut bell.wait()).poll(&mut context).is_pending());
        assert_eq!(Arc::strong_count(&count), 2, "no waker is left behind");
    }
}
