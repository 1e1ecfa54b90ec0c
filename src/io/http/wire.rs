//! A client's stream as hyper wants it.

use std::io;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use smol::io::AsyncRead;
use smol::io::AsyncWrite;
use smol_hyper::rt::FuturesIo;

use crate::io::net::Accepted;

/// Bytes read from a client at once.
const PIECE: usize = 4 << 10;

/// A client's stream as hyper wants it.
///
/// It takes vectored writes, so that hyper hands bodies on as they are: else it would copy each piece into a buffer of the
/// connection's that grows with it and never shrinks. And it reads by way of the stack, so that of a connection's read
/// buffer only as much becomes real memory as was ever read: else all of it would be zeroed at the first look.
pub(super) struct Wire(FuturesIo<Accepted>);

impl Wire {
    pub(super) fn new(stream: Accepted) -> Self {
        Self(FuturesIo::new(stream))
    }

    pub(super) fn into_inner(self) -> Accepted {
        self.0.into_inner()
    }
}

impl hyper::rt::Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buffer: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let mut piece = [0; PIECE];
        let room = buffer.remaining().min(PIECE);
        let count = ready!(Pin::new(self.0.get_mut()).poll_read(cx, &mut piece[..room]))?;
        buffer.put_slice(&piece[..count]);
        Poll::Ready(Ok(()))
    }
}

impl hyper::rt::Write for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.0.get_mut()).poll_write_vectored(cx, bytes)
    }
}
