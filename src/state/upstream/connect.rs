//! Making connections: which server, TCP, TLS, and how long each may take.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use smol::Timer;
use smol::future::FutureExt;

use crate::io::net;
use crate::io::net::Meter;
use crate::io::tls;
use crate::rule::health::Health;
use crate::rule::health::Input;
use crate::state::upstream::Upstream;
use crate::state::upstream::line::Line;
use crate::state::upstream::server::Server;

/// How long TCP may take: two retransmissions of a lost SYN, or two round trips of a very slow line.
const TCP: Duration = Duration::from_secs(6);
/// How long the TLS handshake may take.
const TLS: Duration = Duration::from_secs(9);
/// How long a server has before the next one is tried beside it.
const STAGGER: Duration = Duration::from_secs(1);
/// How often a server that is to be preferred is looked for.
const LOOK: Duration = Duration::from_secs(10);

/// A connection on its way.
type Connecting<'a, T> = Pin<Box<dyn Future<Output = Result<T, String>> + 'a>>;

/// A connection that is being made: its stream, and whether it speaks HTTP/2.
type Handshake<'a> =
    Pin<Box<dyn Future<Output = std::io::Result<(tls::Stream<net::Dialled>, bool)>> + 'a>>;

impl Upstream {
    /// Waits until something happens to the connections; meanwhile looks for a server that is to be preferred.
    pub(super) async fn rest(self: &Rc<Self>, line: Rc<Line>) {
        let better = self.servers.borrow().before(line.server());
        if better.is_empty() {
            return self.bell.wait().await;
        }
        let look = async {
            Timer::after(LOOK).await;
            let Ok(found) = self.reach(better).await else {
                return;
            };
            log::info!(
                "a server that is preferred is back server={} instead={}",
                found.server().authority,
                line.server().authority
            );
            self.take(found);
            line.retire();
            self.changed.notify();
        };
        look.or(self.bell.wait()).await;
    }

    /// Makes a connection; says that the server can't be reached when that takes too long, and goes on trying.
    pub(super) async fn connect_watched(&self) -> Result<Rc<Line>, String> {
        let order = self.servers.borrow().order();
        let connect = self.reach(order);
        let thresholds = self.thresholds;
        let patience = if self.health.get() == Health::Starting {
            thresholds.start
        } else {
            thresholds.give_up
        };
        let late = async {
            Timer::after(patience).await;
            self.happened(Input::Late, "no connection in time");
            smol::future::pending().await
        };
        connect.or(late).await
    }

    /// The first of the servers that can be reached: the next one is tried when one has failed, and beside one that takes
    /// its time.
    fn reach(&self, mut servers: Vec<Rc<Server>>) -> Connecting<'_, Rc<Line>> {
        Box::pin(async move {
            if servers.is_empty() {
                return Err("there is no server".to_owned());
            }
            let first = servers.remove(0);
            let mut connect: Connecting<'_, _> = Box::pin(self.connect(first));
            if servers.is_empty() {
                return connect.await;
            }
            let late = async {
                Timer::after(STAGGER).await;
                None
            };
            match async { Some(connect.as_mut().await) }.or(late).await {
                Some(Ok(line)) => Ok(line),
                Some(Err(why)) => {
                    log::debug!("a server can't be reached: {why}");
                    self.reach(servers).await
                }
                None => either(connect, self.reach(servers)).await,
            }
        })
    }

    async fn connect(&self, server: Rc<Server>) -> Result<Rc<Line>, String> {
        let own = Rc::new(Meter::default());
        let (stream, http2) = self
            .handshake(&server, tls::Offer::Http2, Rc::clone(&own))
            .await
            .map_err(|error| error.to_string())?;
        Line::start(stream, http2, server, own, self.thresholds, &self.executor)
            .await
            .map_err(|error| error.to_string())
    }

    /// TCP and TLS.
    pub(super) fn handshake<'a>(
        &'a self,
        server: &'a Server,
        offer: tls::Offer,
        own: Rc<Meter>,
    ) -> Handshake<'a> {
        Box::pin(self.shake_hands(server, offer, own))
    }

    async fn shake_hands(
        &self,
        server: &Server,
        offer: tls::Offer,
        own: Rc<Meter>,
    ) -> std::io::Result<(tls::Stream<net::Dialled>, bool)> {
        let refreshed = self.tls.borrow_mut().refresh();
        match refreshed {
            Ok(true) => log::info!("certificate files have changed and were read again"),
            Ok(false) => {}
            Err(error) => log::warn!("certificate files have changed and can't be used: {error}"),
        }
        let connector = self.tls.borrow().connector(offer);
        let silence = self.thresholds.give_up * 2;
        let meters = [Rc::clone(&self.meter), own];
        let address = &server.address;
        let stream = net::dial(&address.host, address.port, TCP, silence, meters).await?;
        let name = address.tls_name.as_ref().unwrap_or(&address.host);
        let late = async {
            Timer::after(TLS).await;
            Err(std::io::Error::new(
                std::io::ErrorKind::TimedOut,
                "no TLS handshake in time",
            ))
        };
        connector.connect(name, stream).or(late).await
    }

    /// One more HTTP/1.1 connection of a line.
    pub(super) async fn another(&self, line: &Line) -> std::io::Result<tls::Stream<net::Dialled>> {
        self.handshake(line.server(), tls::Offer::Http1, Rc::clone(line.meter()))
            .await
            .map(|(stream, _)| stream)
    }
}

/// The first of two that succeeds; the later error when neither does.
async fn either<T>(first: Connecting<'_, T>, second: Connecting<'_, T>) -> Result<T, String> {
    let mut both = [Some(first), Some(second)];
    std::future::poll_fn(|cx| {
        let mut last = None;
        for one in &mut both {
            match one.as_mut().map(|future| future.as_mut().poll(cx)) {
                Some(Poll::Ready(Ok(value))) => return Poll::Ready(Ok(value)),
                Some(Poll::Ready(Err(why))) => (*one, last) = (None, Some(why)),
                Some(Poll::Pending) | None => {}
            }
        }
        match last {
            Some(why) if both.iter().all(Option::is_none) => Poll::Ready(Err(why)),
            _ => Poll::Pending,
        }
    })
    .await
}
