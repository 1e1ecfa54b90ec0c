//! The bodies that the fake server sends: whole, streamed, or broken off.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use hyper::body::Bytes;
use hyper::body::Frame;
use hyper::body::SizeHint;
use smol::Timer;
use smol::channel::Receiver;
use smol::stream::Stream;

use super::Shared;

/// A body of an answer.
pub struct Body {
    content: Content,
    cut: Option<usize>,
    fuse: Option<Timer>,
}

enum Content {
    Whole(Option<Bytes>),
    Chunks(Vec<Bytes>),
    Stream(Pin<Box<Receiver<Vec<u8>>>>, OpenWatch),
}

/// Counts a watch as open for as long as it lives.
pub struct OpenWatch(Arc<Shared>);

impl OpenWatch {
    /// One more.
    pub fn new(shared: &Arc<Shared>) -> Self {
        shared.state().watches_open += 1;
        Self(shared.clone())
    }
}

impl Drop for OpenWatch {
    fn drop(&mut self) {
        self.0.state().watches_open -= 1;
    }
}

impl Body {
    /// A whole body. Like Go's, a small one goes with its length and a larger one in chunks.
    pub fn whole(bytes: Vec<u8>) -> Self {
        let bytes = Bytes::from(bytes);
        let content = if bytes.len() <= 2048 {
            Content::Whole(Some(bytes))
        } else {
            let mut chunks: Vec<Bytes> = (0..bytes.len())
                .step_by(16 * 1024)
                .map(|at| bytes.slice(at..bytes.len().min(at + 16 * 1024)))
                .collect();
            chunks.reverse();
            Content::Chunks(chunks)
        };
        Self {
            content,
            cut: None,
            fuse: None,
        }
    }

    /// The events of a watch.
    pub fn watch(lines: Receiver<Vec<u8>>, open: OpenWatch) -> Self {
        Self {
            content: Content::Stream(Box::pin(lines), open),
            cut: None,
            fuse: None,
        }
    }

    /// The same body, broken off after so many bytes.
    pub fn cut_after(mut self, bytes: usize) -> Self {
        if let Content::Whole(whole) = &mut self.content {
            self.content = Content::Chunks(whole.take().into_iter().collect());
        }
        self.cut = Some(bytes);
        self
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        match &mut self.content {
            Content::Whole(whole) => Poll::Ready(whole.take()),
            Content::Chunks(chunks) => Poll::Ready(chunks.pop()),
            Content::Stream(lines, _) => lines
                .as_mut()
                .poll_next(cx)
                .map(|line| line.map(Bytes::from)),
        }
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if let Some(fuse) = &mut self.fuse {
            return Pin::new(fuse)
                .poll_next(cx)
                .map(|_| Some(Err(io::Error::other("cut by the test"))));
        }
        let piece = match self.poll_piece(cx) {
            Poll::Ready(piece) => piece,
            Poll::Pending => return Poll::Pending,
        };
        let Some(mut piece) = piece else {
            return Poll::Ready(None);
        };
        if let Some(left) = self.cut {
            piece.truncate(left);
            self.cut = Some(left - piece.len());
            if left == piece.len() {
                // What was sent before the break is given time to leave.
                self.fuse = Some(Timer::after(Duration::from_millis(30)));
            }
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole(whole) => {
                SizeHint::with_exact(whole.as_ref().map_or(0, Bytes::len) as u64)
            }
            _ => SizeHint::default(),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.content, Content::Whole(None))
    }
}
