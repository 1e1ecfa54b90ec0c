//! A body: bytes that come when they are asked for.
//!
//! Nothing runs beside a body. Who wants the next bytes polls it, and that drives whatever makes them: a connection's
//! stream, or a future of ours ([`Body::generate`]). Backpressure is not polling, and dropping a body cancels all of it.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Context;
use std::task::Poll;
use std::task::ready;
use std::time::Duration;

use hyper::body::Body as _;
use hyper::body::Frame;
use hyper::body::Incoming;
use hyper::body::SizeHint;
use smol::Timer;

use crate::io::http::Bytes;
use crate::io::http::Error;

/// A streamed body.
pub struct Body(Source);

enum Source {
    Empty,
    Full(Bytes),
    Incoming(Box<Incoming>),
    Stream(Pin<Box<dyn Stream>>),
}

/// What makes a body's bytes elsewhere.
pub trait Stream {
    /// The next bytes, the end, or why there is none.
    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>>;
}

impl Body {
    /// No bytes.
    pub fn empty() -> Self {
        Self(Source::Empty)
    }

    /// These bytes.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self(if bytes.is_empty() {
            Source::Empty
        } else {
            Source::Full(bytes)
        })
    }

    /// The bytes that a future sends into its [`Sink`]; it is polled by who reads the body, and an error that it ends with
    /// aborts the client's connection: a body cut short never looks whole.
    pub fn generate<F: Future<Output = Result<(), Error>> + 'static>(
        make: impl FnOnce(Sink) -> F,
    ) -> Self {
        let slot = Rc::default();
        let future = make(Sink(Rc::clone(&slot)));
        Self::stream(Generator {
            future: Some(Box::pin(future)),
            slot,
        })
    }

    /// The bytes of a stream.
    pub fn stream(stream: impl Stream + 'static) -> Self {
        Self(Source::Stream(Box::pin(stream)))
    }

    /// What hyper is reading.
    pub fn incoming(incoming: Incoming) -> Self {
        Self(if incoming.is_end_stream() {
            Source::Empty
        } else {
            Source::Incoming(Box::new(incoming))
        })
    }

    /// Whether it is known to have no bytes left.
    pub fn is_empty(&self) -> bool {
        matches!(self.0, Source::Empty)
    }

    /// Reads what is left and throws it away, unless it is more than `limit` bytes or takes longer than `time`.
    pub async fn discard(&mut self, limit: usize, time: Duration) {
        if self.is_empty() {
            return;
        }
        let read = async {
            let mut left = limit;
            while let Some(Ok(bytes)) = self.next().await {
                let Some(rest) = left.checked_sub(bytes.len()) else {
                    break;
                };
                left = rest;
            }
        };
        let late = async {
            Timer::after(time).await;
        };
        smol::future::or(read, late).await;
    }

    /// The next bytes.
    pub async fn next(&mut self) -> Option<Result<Bytes, Error>> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The next bytes.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        let next = match &mut self.0 {
            Source::Empty => None,
            Source::Full(bytes) => Some(Ok(std::mem::take(bytes))),
            Source::Stream(stream) => ready!(stream.as_mut().poll_next(cx)),
            Source::Incoming(incoming) => loop {
                match ready!(Pin::new(&mut **incoming).poll_frame(cx)) {
                    None => break None,
                    // Trailers end here: no client of an API server reads any.
                    Some(Ok(frame)) => {
                        if let Ok(bytes) = frame.into_data() {
                            break Some(Ok(bytes));
                        }
                    }
                    Some(Err(error)) => break Some(Err(Error::upstream("read the body", &error))),
                }
            },
        };
        if matches!(self.0, Source::Full(_)) || !matches!(next, Some(Ok(_))) {
            self.0 = Source::Empty;
        }
        Poll::Ready(next)
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.poll_next(cx).map_ok(Frame::data)
    }

    fn is_end_stream(&self) -> bool {
        self.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Source::Empty => SizeHint::with_exact(0),
            Source::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Source::Incoming(incoming) => incoming.size_hint(),
            Source::Stream(_) => SizeHint::default(),
        }
    }
}

/// Where a generating future puts its bytes.
pub struct Sink(Rc<RefCell<Option<Bytes>>>);

impl Sink {
    /// Sends bytes; returns when the reader has taken them and wants more.
    pub async fn send(&mut self, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        let mut bytes = Some(bytes);
        std::future::poll_fn(|_| match bytes.take() {
            Some(bytes) => {
                self.0.replace(Some(bytes));
                Poll::Pending
            }
            // Polled again: only the reader polls, and it does so after it has taken what was there.
            None if self.0.borrow().is_none() => Poll::Ready(()),
            None => Poll::Pending,
        })
        .await;
    }
}

struct Generator<F> {
    /// `None` once it has ended. Boxed, so that it can be polled in place without `unsafe`.
    future: Option<Pin<Box<F>>>,
    slot: Rc<RefCell<Option<Bytes>>>,
}

impl<F: Future<Output = Result<(), Error>>> Stream for Generator<F> {
    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Error>>> {
        let Some(future) = &mut self.future else {
            return Poll::Ready(None);
        };
        let ended = future.as_mut().poll(cx);
        if let Some(bytes) = self.slot.borrow_mut().take() {
            // It can't have ended: sending returns only when the bytes have been taken.
            return Poll::Ready(Some(Ok(bytes)));
        }
        let result = ready!(ended);
        self.future = None;
        Poll::Ready(result.err().map(Err))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(body: &mut Body) -> Vec<Result<Bytes, String>> {
        let mut all = Vec::new();
        while let Some(bytes) = body.next().await {
            all.push(bytes.map_err(|error| error.to_string()));
        }
        all
    }

    #[test]
    fn a_generated_body_is_made_as_it_is_read() {
        smol::block_on(async {
            let made = Rc::new(RefCell::new(0));
            let count = Rc::clone(&made);
            let mut body = Body::generate(move |mut sink| async move {
                for n in 0..3 {
                    *count.borrow_mut() += 1;
                    sink.send(Bytes::from(vec![n])).await;
                    sink.send(Bytes::new()).await;
                }
                Ok(())
            });
            assert_eq!(*made.borrow(), 0, "nothing before it is asked for");
            assert_eq!(
                body.next().await.map(|bytes| bytes.ok()),
                Some(Some(Bytes::from_static(&[0])))
            );
            assert_eq!(*made.borrow(), 1);
            assert_eq!(
                read(&mut body).await,
                vec![Ok(Bytes::from_static(&[1])), Ok(Bytes::from_static(&[2]))]
            );
            assert!(body.next().await.is_none(), "and stays at its end");
        });
    }

    #[test]
    fn an_error_comes_behind_what_was_sent_and_is_the_last() {
        smol::block_on(async {
            let mut body = Body::generate(|mut sink| async move {
                sink.send(Bytes::from_static(b"half")).await;
                Err(Error::upstream("read the list", &"cut"))
            });
            let all = read(&mut body).await;
            assert_eq!(
                all,
                vec![
                    Ok(Bytes::from_static(b"half")),
                    Err("can't read the list: cut".to_owned())
                ]
            );
        });
    }

    #[test]
    fn dropping_a_body_cancels_what_makes_it() {
        let alive = Rc::new(());
        let held = Rc::clone(&alive);
        let mut body = Body::generate(move |mut sink| async move {
            sink.send(Bytes::from_static(b"one")).await;
            smol::future::pending::<()>().await;
            drop(held);
            Ok(())
        });
        smol::block_on(body.next());
        assert_eq!(Rc::strong_count(&alive), 2);
        drop(body);
        assert_eq!(Rc::strong_count(&alive), 1);
    }

    #[test]
    fn full_and_empty_bodies_know_their_length() {
        assert_eq!(Body::full("abc").size_hint().exact(), Some(3));
        assert!(Body::full("").is_end_stream() && Body::empty().is_end_stream());
        assert_eq!(
            smol::block_on(read(&mut Body::full("abc"))),
            vec![Ok(Bytes::from_static(b"abc"))]
        );
    }
}
