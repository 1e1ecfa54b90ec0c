//! A raw tunnel behind a `101 Switching Protocols`: bytes both ways, until both sides have ended.

use std::io;

use smol::future;
use smol::io::AsyncRead;
use smol::io::AsyncReadExt;
use smol::io::AsyncWrite;
use smol::io::AsyncWriteExt;

use crate::io::http::Bytes;

/// Bytes moved at once, each way.
const BUFFER: usize = 8 << 10;

/// Anything that is read and written.
pub trait Duplex: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Duplex for T {}

/// One end of a tunnel: a stream, and what had come on it behind the head.
pub struct Tunnel {
    stream: Box<dyn Duplex>,
    leftover: Bytes,
}

impl Tunnel {
    /// The end at `stream`, on which `leftover` had already come.
    pub fn new(stream: impl Duplex + 'static, leftover: Bytes) -> Self {
        Self {
            stream: Box::new(stream),
            leftover,
        }
    }

    /// Moves bytes between two ends until both directions have ended, each with the end of its source: a side that has
    /// said all it has to say may still listen.
    pub async fn join(self, other: Self) -> io::Result<()> {
        let (mut a_reads, mut a_writes) = smol::io::split(self.stream);
        let (mut b_reads, mut b_writes) = smol::io::split(other.stream);
        let there = pump(&mut a_reads, &mut b_writes, self.leftover);
        let back = pump(&mut b_reads, &mut a_writes, other.leftover);
        // An error in one direction ends both: half a broken tunnel serves nobody.
        future::try_zip(there, back).await.map(|_| ())
    }
}

async fn pump(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    first: Bytes,
) -> io::Result<()> {
    to.write_all(&first).await?;
    to.flush().await?;
    let mut buffer = vec![0; BUFFER];
    loop {
        let count = from.read(&mut buffer).await?;
        let Some(bytes) = buffer.get(..count).filter(|bytes| !bytes.is_empty()) else {
            return to.close().await;
        };
        to.write_all(bytes).await?;
        to.flush().await?;
    }
}
