//! One way to a server: an HTTP/2 connection, or a handful of HTTP/1.1 ones where it speaks nothing newer.
//!
//! A line is given up as a whole: what waits on it is told at once, what streams on it ends with an error.

use std::cell::Cell;
use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;
use std::time::Instant;

use smol::LocalExecutor;
use smol::Timer;
use smol::future::FutureExt;

use crate::io::http::Error;
use crate::io::http::Request;
use crate::io::http::Response;
use crate::io::http::h1;
use crate::io::http::h2;
use crate::io::latest::Notify;
use crate::io::net::Dialled;
use crate::io::net::Meter;
use crate::io::tls;
use crate::rule::health::Action;
use crate::rule::health::Pulse;
use crate::rule::health::Thresholds;
use crate::state::upstream::server::Server;

/// HTTP/1.1 connections that are kept open between exchanges.
const IDLE: usize = 4;

/// One way to a server.
pub struct Line {
    kind: Kind,
    server: Rc<Server>,
    executor: Rc<LocalExecutor<'static>>,
    meter: Rc<Meter>,
    thresholds: Thresholds,
    /// When the requests that wait for an answer's head began to, oldest first.
    waiting: RefCell<Vec<(u32, Instant)>>,
    next: Cell<u32>,
    stirred: Notify,
    over: Cell<bool>,
    ended: Notify,
}

enum Kind {
    Http2(h2::Connection),
    Http1 {
        idle: RefCell<Vec<h1::Connection>>,
        closers: RefCell<Vec<h1::Closer>>,
    },
}

/// How a line ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It was silent for too long.
    Silent,
    /// The other side ended it.
    Closed,
}

/// A request that waits for its answer's head.
struct Waiting<'a> {
    line: &'a Line,
    id: u32,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.line
            .waiting
            .borrow_mut()
            .retain(|(id, _)| *id != self.id);
    }
}

impl Line {
    /// Begins HTTP on a fresh stream to `server` whose bytes `meter` counts.
    pub async fn start(
        stream: tls::Stream<Dialled>,
        http2: bool,
        server: Rc<Server>,
        meter: Rc<Meter>,
        thresholds: Thresholds,
        executor: &Rc<LocalExecutor<'static>>,
    ) -> Result<Rc<Self>, Error> {
        let authority = Rc::clone(&server.authority);
        let kind = if http2 {
            let executor = Rc::clone(executor);
            let allowed = Rc::clone(&server.allowed);
            Kind::Http2(h2::Connection::start(stream, authority, allowed, executor).await?)
        } else {
            let connection = h1::Connection::start(stream, authority, executor).await?;
            let closer = connection.closer();
            Kind::Http1 {
                idle: RefCell::new(vec![connection]),
                closers: RefCell::new(vec![closer]),
            }
        };
        Ok(Rc::new(Self {
            kind,
            server,
            executor: Rc::clone(executor),
            meter,
            thresholds,
            waiting: RefCell::default(),
            next: Cell::new(0),
            stirred: Notify::new(),
            over: Cell::new(false),
            ended: Notify::new(),
        }))
    }

    /// Where it leads.
    pub fn server(&self) -> &Rc<Server> {
        &self.server
    }

    /// Another line is to be preferred: this one takes no new requests. What streams on HTTP/2 goes on to its end; what
    /// streams on HTTP/1.1, which can't tell when that is, is broken off and begun again elsewhere.
    pub fn retire(&self) {
        match &self.kind {
            Kind::Http2(connection) => connection.retire(),
            Kind::Http1 { .. } => self.close(),
        }
    }

    /// What crosses it.
    pub fn meter(&self) -> &Rc<Meter> {
        &self.meter
    }

    /// Whether new requests should go on it.
    pub fn has_room(&self) -> bool {
        !self.over.get()
            && match &self.kind {
                Kind::Http2(connection) => connection.has_room(),
                Kind::Http1 { .. } => true,
            }
    }

    /// Whether it is known how many requests it takes.
    pub fn is_settled(&self) -> bool {
        match &self.kind {
            Kind::Http2(connection) => connection.is_settled(),
            Kind::Http1 { .. } => true,
        }
    }

    /// Whether it takes no new requests at all.
    pub fn is_closing(&self) -> bool {
        self.over.get()
            || match &self.kind {
                Kind::Http2(connection) => connection.is_closing(),
                Kind::Http1 { .. } => false,
            }
    }

    /// Takes the pulse until the line ends. `dial` makes one more connection to the server, which HTTP/1.1 needs to learn
    /// whether it lives; `full` is rung when the line takes no more requests, `settled` when it is known how many it takes.
    pub async fn keep<F>(&self, dial: impl Fn() -> F, full: &Notify, settled: &Notify) -> End
    where
        F: Future<Output = std::io::Result<tls::Stream<Dialled>>>,
    {
        let closed = async {
            match &self.kind {
                Kind::Http2(connection) => {
                    connection.closing().await;
                    // Said goodbye, or ended: a new one is needed, while what runs here runs on.
                    full.notify();
                    connection.ended().await;
                }
                Kind::Http1 { .. } => {
                    while !self.over.get() {
                        self.ended.wait().await;
                    }
                }
            }
            End::Closed
        };
        let limits = async {
            if let Kind::Http2(connection) = &self.kind {
                connection.settled().await;
                settled.notify();
            }
            smol::future::pending().await
        };
        let end = closed.or(limits).or(self.pulse(dial)).await;
        self.close();
        end
    }

    async fn pulse<F>(&self, dial: impl Fn() -> F) -> End
    where
        F: Future<Output = std::io::Result<tls::Stream<Dialled>>>,
    {
        let mut pulse = Pulse::Resting;
        let mut probe = None;
        loop {
            let waiting = self.waiting.borrow().first().map(|(_, since)| *since);
            let until =
                match pulse.step(self.meter.heard(), waiting, Instant::now(), self.thresholds) {
                    Action::GiveUp => return End::Silent,
                    Action::Rest(until) => until,
                    Action::Ping(until) => {
                        match &self.kind {
                            Kind::Http2(connection) => connection.ping(),
                            Kind::Http1 { .. } => probe = Some(Box::pin(dial())),
                        }
                        until
                    }
                };
            let timer = async {
                Timer::at(until).await;
            };
            let probed = async {
                match &mut probe {
                    // Whatever came of it: if the server said anything, the meter has heard it.
                    Some(probing) => drop(probing.await),
                    None => smol::future::pending().await,
                }
            };
            let woken = async {
                timer.or(self.stirred.wait()).await;
                false
            };
            let done = async {
                probed.await;
                true
            };
            if done.or(woken).await {
                probe = None;
            }
        }
    }

    /// Ends it now: what waits is told, what streams ends with an error.
    fn close(&self) {
        self.over.set(true);
        match &self.kind {
            Kind::Http2(connection) => connection.close(),
            Kind::Http1 { idle, closers } => {
                idle.borrow_mut().clear();
                for closer in closers.take() {
                    closer.close();
                }
            }
        }
        self.ended.notify();
    }

    /// One exchange.
    pub async fn send<F>(
        &self,
        request: Request,
        dial: impl FnOnce() -> F,
    ) -> Result<Response, Error>
    where
        F: Future<Output = std::io::Result<tls::Stream<Dialled>>>,
    {
        let _waiting = self.wait();
        let given_up = async {
            while !self.over.get() {
                self.ended.wait().await;
            }
            Err(Error::upstream("read the answer", &"the line is down"))
        };
        let exchange = async {
            match &self.kind {
                Kind::Http2(connection) => connection.send(request).await,
                Kind::Http1 { idle, closers } => {
                    let ready = take_ready(&mut idle.borrow_mut());
                    let mut connection = match ready {
                        Some(connection) => connection,
                        None => self.another(dial, closers).await?,
                    };
                    let result = connection.send(request).await;
                    let mut idle = idle.borrow_mut();
                    if result.is_ok() && idle.len() < IDLE {
                        // It is ready again when the answer's body has been read. One that is not kept ends then.
                        idle.push(connection);
                    }
                    result
                }
            }
        };
        exchange.or(given_up).await
    }

    async fn another<F>(
        &self,
        dial: impl FnOnce() -> F,
        closers: &RefCell<Vec<h1::Closer>>,
    ) -> Result<h1::Connection, Error>
    where
        F: Future<Output = std::io::Result<tls::Stream<Dialled>>>,
    {
        let stream = dial().await.map_err(|error| {
            self.over.set(true);
            self.ended.notify();
            Error::unprocessed("reach the API server", &error)
        })?;
        let connection =
            h1::Connection::start(stream, Rc::clone(&self.server.authority), &self.executor)
                .await?;
        let mut closers = closers.borrow_mut();
        closers.retain(|closer| !closer.is_closed());
        closers.push(connection.closer());
        Ok(connection)
    }

    fn wait(&self) -> Waiting<'_> {
        let id = self.next.get();
        self.next.set(id.wrapping_add(1));
        self.waiting.borrow_mut().push((id, Instant::now()));
        self.stirred.notify();
        Waiting { line: self, id }
    }
}

fn take_ready(idle: &mut Vec<h1::Connection>) -> Option<h1::Connection> {
    idle.retain(|connection| !connection.is_closed());
    let ready = idle.iter().position(h1::Connection::is_ready)?;
    Some(idle.swap_remove(ready))
}
