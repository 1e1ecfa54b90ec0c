//! TCP: listening, dialling by name or address, and a stream that counts what crosses it.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::net::ToSocketAddrs;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;
use std::time::Instant;

use smol::Async;
use smol::Timer;
use smol::future::FutureExt;
use smol::io::AsyncRead;
use smol::io::AsyncWrite;

use crate::io::kernel;
use crate::io::worker;

/// A listening socket.
pub struct Listener(Async<TcpListener>);

/// How long a local client may take nothing of what is there for it. What waits for it (an unread list holds an upstream
/// stream and the right to fill a log) is let go then.
const UNREAD: Duration = Duration::from_secs(60);

/// A local client's connection; it fails when the client takes nothing for too long.
pub struct Accepted {
    stream: Async<TcpStream>,
    peer: IpAddr,
    unread: Duration,
    stalled: Option<Timer>,
}

impl Accepted {
    /// Who it is.
    pub fn peer(&self) -> IpAddr {
        self.peer
    }
}

impl Listener {
    /// Listens on `address`; port 0 takes a free one.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        Async::<TcpListener>::bind(address).map(Self)
    }

    /// Where it listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.0.get_ref().local_addr()
    }

    /// The next client.
    pub async fn accept(&self) -> io::Result<Accepted> {
        let (stream, peer) = self.0.accept().await?;
        stream.get_ref().set_nodelay(true)?;
        Ok(Accepted {
            stream,
            peer: peer.ip(),
            unread: UNREAD,
            stalled: None,
        })
    }
}

impl AsyncRead for Accepted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl Accepted {
    /// What came of a write, or an error if there has been nothing but waiting for too long.
    fn unstalled(
        &mut self,
        cx: &mut Context<'_>,
        polled: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if polled.is_ready() {
            self.stalled = None;
            return polled;
        }
        let unread = self.unread;
        let timer = self.stalled.get_or_insert_with(|| Timer::after(unread));
        Pin::new(timer).poll(cx).map(|_| {
            Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the client reads nothing",
            ))
        })
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.unstalled(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.unstalled(cx, polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}

/// What has crossed one connection, or all connections to one server.
#[derive(Debug)]
pub struct Meter {
    received: Cell<u64>,
    sent: Cell<u64>,
    heard: Cell<Instant>,
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            received: Cell::new(0),
            sent: Cell::new(0),
            heard: Cell::new(Instant::now()),
        }
    }
}

impl Meter {
    /// Bytes that came.
    pub fn received(&self) -> u64 {
        self.received.get()
    }

    /// Bytes that went.
    pub fn sent(&self) -> u64 {
        self.sent.get()
    }

    /// When the last byte came: any byte is a sign of life.
    pub fn heard(&self) -> Instant {
        self.heard.get()
    }
}

/// A dialled connection; its bytes are counted.
pub struct Dialled {
    stream: Async<TcpStream>,
    meters: [Rc<Meter>; 2],
}

/// Connects to `host` (a name, looked up on the worker thread, or an address) within `within`; every address gets its
/// share of that time. What crosses is counted in both `meters`. A peer that has not acknowledged for `silence` is given
/// up by the kernel (`TCP_USER_TIMEOUT`).
pub async fn dial(
    host: &str,
    port: u16,
    within: Duration,
    silence: Duration,
    meters: [Rc<Meter>; 2],
) -> io::Result<Dialled> {
    let late = async {
        Timer::after(within).await;
        Err(io::Error::new(io::ErrorKind::TimedOut, "no answer"))
    };
    let stream = connect(host, port, within).or(late).await?;
    stream.get_ref().set_nodelay(true)?;
    kernel::give_up_after(stream.get_ref(), silence)?;
    Ok(Dialled { stream, meters })
}

async fn connect(host: &str, port: u16, within: Duration) -> io::Result<Async<TcpStream>> {
    let addresses = resolve(host, port).await?;
    let share = within / u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        let late = async {
            Timer::after(share).await;
            Err(io::Error::new(io::ErrorKind::TimedOut, "no answer"))
        };
        match Async::<TcpStream>::connect(address).or(late).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let host = host.to_owned();
    worker::run(move || {
        (host.as_str(), port)
            .to_socket_addrs()
            .map(Iterator::collect)
    })
    .await
}

impl AsyncRead for Dialled {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if let Poll::Ready(Ok(count)) = &polled
            && *count > 0
        {
            let now = Instant::now();
            for meter in &self.meters {
                meter.received.set(meter.received.get() + *count as u64);
                meter.heard.set(now);
            }
        }
        polled
    }
}

impl AsyncWrite for Dialled {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if let Poll::Ready(Ok(count)) = &polled {
            for meter in &self.meters {
                meter.sent.set(meter.sent.get() + *count as u64);
            }
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smol::io::AsyncReadExt;
    use smol::io::AsyncWriteExt;

    #[test]
    fn what_crosses_is_counted_and_stamps_the_last_sign_of_life() {
        smol::block_on(async {
            let listener = Listener::bind(([127, 0, 0, 1], 0).into()).expect("a free port");
            let port = listener.address().expect("an address").port();
            let (all, own) = (Rc::new(Meter::default()), Rc::new(Meter::default()));
            let begun = own.heard();
            let dialled = dial(
                "localhost",
                port,
                Duration::from_secs(5),
                Duration::from_secs(9),
                [all.clone(), own.clone()],
            );
            let (dialled, accepted) = smol::future::zip(dialled, listener.accept()).await;
            let (mut dialled, mut accepted) =
                (dialled.expect("connected"), accepted.expect("accepted"));
            assert_eq!(own.heard(), begun, "what accepts may be a box on the way");
            accepted.write_all(b"12345").await.expect("sent");
            let mut five = [0; 5];
            dialled.read_exact(&mut five).await.expect("received");
            dialled.write_all(b"123").await.expect("sent");
            assert_eq!((own.received(), own.sent()), (5, 3));
            assert_eq!((all.received(), all.sent()), (5, 3));
            assert!(own.heard() > begun);
        });
    }

    #[test]
    fn a_client_that_reads_nothing_is_cut_and_a_slow_one_is_not() {
        smol::block_on(async {
            let listener = Listener::bind(([127, 0, 0, 1], 0).into()).expect("a free port");
            let address = listener.address().expect("an address");
            let idle = Async::<TcpStream>::connect(address)
                .await
                .expect("connected");
            let mut accepted = listener.accept().await.expect("accepted");
            accepted.unread = Duration::from_millis(200);
            let much = vec![0; 16 << 20];
            let error = accepted.write_all(&much).await.expect_err("nobody reads");
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            drop(idle);
            let mut client = Async::<TcpStream>::connect(address)
                .await
                .expect("connected");
            let mut accepted = listener.accept().await.expect("accepted");
            accepted.unread = Duration::from_secs(20);
            let reads = async {
                let mut left = much.len();
                let mut buffer = vec![0; 64 << 10];
                while left > 0 {
                    left -= client.read(&mut buffer).await.expect("bytes");
                    smol::future::yield_now().await;
                }
            };
            let (sent, ()) = smol::future::zip(accepted.write_all(&much), reads).await;
            assert!(sent.is_ok());
        });
    }

    #[test]
    fn a_refused_connection_is_an_error_at_once() {
        smol::block_on(async {
            let listener = Listener::bind(([127, 0, 0, 1], 0).into()).expect("a free port");
            let port = listener.address().expect("an address").port();
            drop(listener);
            let meters = [Rc::new(Meter::default()), Rc::new(Meter::default())];
            let refused = dial(
                "127.0.0.1",
                port,
                Duration::from_secs(5),
                Duration::from_secs(9),
                meters,
            )
            .await;
            assert_eq!(
                refused.err().map(|error| error.kind()),
                Some(io::ErrorKind::ConnectionRefused)
            );
        });
    }
}
