//! Telling waiting futures of one thread that something has changed.

use std::cell::Cell;
use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::task::Waker;

/// A bell: [`notify`](Self::notify) wakes everybody who waits at that moment. It holds no value: who is woken looks.
///
/// As all runs on one thread, nothing is missed between a look and the first poll of [`wait`](Self::wait), as long as
/// nothing else is awaited in between.
#[derive(Debug, Default)]
pub struct Notify {
    rung: Cell<u32>,
    next: Cell<u32>,
    waiting: RefCell<Vec<(u32, Waker)>>,
}

impl Notify {
    /// A bell that nobody waits for.
    pub fn new() -> Self {
        Self::default()
    }

    /// Wakes everybody who waits.
    pub fn notify(&self) {
        self.rung.set(self.rung.get().wrapping_add(1));
        for (_, waker) in self.waiting.take() {
            waker.wake();
        }
    }

    /// Waits for the next [`notify`](Self::notify) after the first poll.
    pub fn wait(&self) -> Wait<'_> {
        Wait {
            notify: self,
            place: None,
        }
    }
}

/// See [`Notify::wait`].
#[derive(Debug)]
pub struct Wait<'a> {
    notify: &'a Notify,
    /// Our number, and how often the bell had rung when we came.
    place: Option<(u32, u32)>,
}

impl Future for Wait<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let notify = self.notify;
        let Some((id, rung)) = self.place else {
            let id = notify.next.get();
            notify.next.set(id.wrapping_add(1));
            self.place = Some((id, notify.rung.get()));
            notify.waiting.borrow_mut().push((id, cx.waker().clone()));
            return Poll::Pending;
        };
        if rung != notify.rung.get() {
            return Poll::Ready(());
        }
        if let Some((_, waker)) = notify
            .waiting
            .borrow_mut()
            .iter_mut()
            .find(|(other, _)| *other == id)
        {
            waker.clone_from(cx.waker());
        }
        Poll::Pending
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        if let Some((id, _)) = self.place {
            self.notify
                .waiting
                .borrow_mut()
                .retain(|(other, _)| *other != id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smol::future;

    #[test]
    fn who_waits_is_woken_and_who_left_is_forgotten() {
        let notify = Notify::new();
        smol::block_on(async {
            for _ in 0..3 {
                let wait = notify.wait();
                future::or(wait, future::ready(())).await;
            }
            assert!(notify.waiting.borrow().is_empty());
            let mut one = notify.wait();
            assert!(future::poll_once(&mut one).await.is_none());
            notify.notify();
            assert!(future::poll_once(&mut one).await.is_some());
            let mut two = notify.wait();
            assert!(
                future::poll_once(&mut two).await.is_none(),
                "an earlier ring is not ours"
            );
        });
    }
}
