//! How much a server may send ahead on a stream: little on a slow line, and never nothing.
//!
//! Our end of HTTP/2 against a server of `h2`'s over a line of a given speed, in this process: what the server has been
//! allowed to send is counted, not timed.

use std::cell::Cell;
use std::future::Future;
use std::future::poll_fn;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

use h2::server::SendResponse;
use hyper::Method;
use hyper::body::Bytes;
use smol::Async;
use smol::LocalExecutor;
use smol::Timer;
use smol::future::FutureExt as _;
use smol::io::AsyncReadExt as _;
use smol::io::AsyncWriteExt as _;
use tokio_util::compat::FuturesAsyncReadCompatExt as _;
use toono::io::http::Body;
use toono::io::http::HeaderMap;
use toono::io::http::Request;
use toono::io::http::h2::Connection;

/// A pause between two pieces of the slow line, and a piece: 10 KB a second.
const PAUSE: Duration = Duration::from_millis(100);
const PIECE: usize = 1000;
/// Nothing here may take so long; a stream that hangs does.
const LONG: Duration = Duration::from_secs(60);

/// A connection to a server that answers `/N` with N bytes, and says how many it could send; `/N/first/M` waits in front
/// of the last M for the bell.
struct Line {
    connection: Connection,
    sent: Rc<Cell<usize>>,
    slow: Rc<Cell<bool>>,
    bell: smol::channel::Sender<()>,
}

impl Line {
    async fn new(slow: bool, executor: &Rc<LocalExecutor<'static>>) -> Self {
        let pair = || Async::<UnixStream>::pair().expect("a pair of sockets");
        let ((agent, near), (far, server)) = (pair(), pair());
        let (near, far) = (Rc::new(near), Rc::new(far));
        let slow = Rc::new(Cell::new(slow));
        executor
            .spawn(carry(Rc::clone(&far), Rc::clone(&near), Rc::clone(&slow)))
            .detach();
        executor.spawn(carry(near, far, Rc::default())).detach();
        let sent = Rc::new(Cell::new(0));
        let (bell, rung) = smol::channel::bounded(1);
        let serving = serve(server, Rc::clone(&sent), rung, Rc::clone(executor));
        executor.spawn(serving).detach();
        let connection =
            Connection::start(agent, "server".into(), Rc::default(), Rc::clone(executor));
        Self {
            connection: connection.await.expect("HTTP/2"),
            sent,
            slow,
            bell,
        }
    }

    async fn get(&self, target: &str) -> Body {
        let request = Request::new(
            Method::GET,
            target.to_owned(),
            HeaderMap::new(),
            Body::empty(),
        );
        self.connection.send(request).await.expect("an answer").body
    }
}

/// Carries one way until either side is gone.
async fn carry(from: Rc<Async<UnixStream>>, to: Rc<Async<UnixStream>>, slow: Rc<Cell<bool>>) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let room = if slow.get() { PIECE } else { buffer.len() };
        let Ok(count @ 1..) = (&*from).read(&mut buffer[..room]).await else {
            return;
        };
        if slow.get() {
            Timer::after(PAUSE).await;
        }
        if (&*to).write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

async fn serve(
    stream: Async<UnixStream>,
    sent: Rc<Cell<usize>>,
    bell: smol::channel::Receiver<()>,
    executor: Rc<LocalExecutor<'static>>,
) {
    let mut connection = h2::server::handshake(stream.compat())
        .await
        .expect("HTTP/2");
    while let Some(Ok((request, respond))) = connection.accept().await {
        let target = request.uri().path().to_owned();
        let answering = answer(target, respond, Rc::clone(&sent), bell.clone());
        executor.spawn(answering).detach();
    }
}

async fn answer(
    target: String,
    mut respond: SendResponse<Bytes>,
    sent: Rc<Cell<usize>>,
    bell: smol::channel::Receiver<()>,
) {
    let numbers: Vec<usize> = target
        .split('/')
        .filter_map(|part| part.parse().ok())
        .collect();
    let (first, rest) = match numbers[..] {
        [first] => (first, 0),
        [first, rest] => (first, rest),
        _ => unreachable!("a target of this test"),
    };
    // Only what is made ahead tells the line's speed.
    let mut head = hyper::Response::builder();
    if rest == 0 {
        head = head.header("content-length", first);
    }
    let head = head.body(()).expect("a head");
    let mut stream = respond.send_response(head, false).expect("a client");
    for (part, mut left) in [first, rest].into_iter().enumerate() {
        if part == 1 && left > 0 {
            // Closed when the test is over.
            let _ = bell.recv().await;
        }
        while left > 0 {
            stream.reserve_capacity(left);
            match poll_fn(|cx| stream.poll_capacity(cx)).await {
                Some(Ok(0)) => {}
                Some(Ok(room)) => {
                    let room = room.min(left);
                    left -= room;
                    sent.set(sent.get() + room);
                    if stream
                        .send_data(Bytes::from(vec![b'x'; room]), false)
                        .is_err()
                    {
                        return;
                    }
                }
                Some(Err(_)) | None => return,
            }
        }
    }
    // A client that has gone needs no end.
    let _ = stream.send_data(Bytes::new(), true);
}

/// Runs `test` to its end; one that hangs fails.
fn run<F: Future<Output = ()>>(test: impl FnOnce(Rc<LocalExecutor<'static>>) -> F) {
    let executor = Rc::new(LocalExecutor::new());
    let late = async {
        Timer::after(LONG).await;
        panic!("it hangs");
    };
    smol::block_on(executor.run(test(Rc::clone(&executor)).or(late)));
}

/// Reads `count` bytes, or to the end; the most that the server was ahead of the reader from byte `from` on.
async fn read(line: &Line, body: &mut Body, count: usize, from: usize) -> (usize, usize) {
    let (mut read, mut ahead) = (0, 0);
    while read < count {
        let Some(bytes) = body.next().await else {
            break;
        };
        let bytes = bytes.expect("it comes whole");
        if read >= from {
            ahead = ahead.max(line.sent.get() - read);
        }
        read += bytes.len();
        assert!(bytes.iter().all(|byte| *byte == b'x'));
    }
    (read, ahead)
}

#[test]
fn a_server_on_a_slow_line_is_a_good_second_ahead_and_on_a_fast_one_its_fill() {
    run(|executor| async move {
        let line = Line::new(true, &executor).await;
        let mut body = line.get("/90000").await;
        let (slow, ahead) = read(&line, &mut body, usize::MAX, 50_000).await;
        assert_eq!(slow, 90_000);
        // 10 KB a second and what a round trip of a piece or two adds; a busy machine makes the line slower.
        assert!(ahead <= 20 << 10, "{ahead}");
        let line = Line::new(false, &executor).await;
        let mut body = line.get("/5000000").await;
        let (fast, ahead) = read(&line, &mut body, usize::MAX, 1_000_000).await;
        assert_eq!(fast, 5_000_000);
        assert!(ahead > 20 << 10 && ahead <= 64 << 10, "{ahead}");
    });
}

#[test]
fn a_stream_that_had_used_more_than_the_smaller_window_goes_on() {
    run(|executor| async move {
        let line = Line::new(false, &executor).await;
        // On a fast line windows grow. A watch reads less than the half of a large one, which is when the server is told
        // that it was read, and more than all that a small one holds.
        let mut list = line.get("/5000000").await;
        read(&line, &mut list, usize::MAX, 0).await;
        let mut watch = line.get("/20000/first/100000").await;
        assert_eq!(read(&line, &mut watch, 20_000, 0).await.0, 20_000);
        // The line becomes slow: windows shrink while the watch waits.
        line.slow.set(true);
        line.sent.set(0);
        let wait = watch.next();
        let mut list = line.get("/200000").await;
        let read_list = async {
            let (_, ahead) = read(&line, &mut list, usize::MAX, 170_000).await;
            assert!(ahead < 20_000, "{ahead}");
            line.slow.set(false);
            assert!(line.bell.send(()).await.is_ok());
        };
        let (next, ()) = smol::future::zip(wait, read_list).await;
        let next = next.map(|bytes| bytes.expect("it goes on").len());
        let rest = read(&line, &mut watch, usize::MAX, 0).await.0;
        assert_eq!(
            next.unwrap_or_default() + rest,
            100_000,
            "all, though it is more than a window"
        );
    });
}
