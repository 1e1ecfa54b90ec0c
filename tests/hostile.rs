//! A server that speaks HTTP/1.1 badly: what it says is passed on as it is meant, or refused, and never as something else.

use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::ServerConnection;
use rustls::StreamOwned;

use crate::support::apiserver::Options;

const OK: &str = "HTTP/1.1 200 OK\r\n";

/// What a probe is answered with, in pieces; and what the client must see of it.
struct Probe {
    name: &'static str,
    pieces: Vec<Vec<u8>>,
    seen: Seen,
}

enum Seen {
    /// An answer whose head holds these, and this body.
    Whole(&'static [&'static [u8]], &'static [u8]),
    /// A refusal of ours: 502 or 503, with a `Status`.
    Refused,
    /// An answer that does not end well.
    Aborted,
}

fn probe(name: &'static str, answer: impl Into<Vec<u8>>, seen: Seen) -> Probe {
    Probe {
        name,
        pieces: vec![answer.into()],
        seen,
    }
}

fn probes() -> Vec<Probe> {
    use Seen::Aborted;
    use Seen::Refused;
    use Seen::Whole;
    let chunked = format!("{OK}transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
    let (most, last) = chunked.as_bytes().split_at(chunked.len() - 1);
    let long = format!("{OK}content-length: 0\r\nx: {}\r\n\r\n", "y".repeat(40_000));
    let large = format!("{OK}content-length: 0\r\nx: {}\r\n\r\n", "y".repeat(25_000));
    vec![
        probe(
            "a field that is not ASCII",
            [
                OK.as_bytes(),
                b"x-note: caf\xc3\xa9 \xe9\r\ncontent-length: 2\r\n\r\nok",
            ]
            .concat(),
            Whole(&[b"x-note: caf\xc3\xa9 \xe9\r\n"], b"ok"),
        ),
        Probe {
            name: "the last line feed by itself",
            pieces: vec![most.to_vec(), last.to_vec()],
            seen: Whole(&[], b"hello"),
        },
        Probe {
            name: "byte by byte",
            pieces: chunked.bytes().map(|byte| vec![byte]).collect(),
            seen: Whole(&[], b"hello"),
        },
        probe(
            "Chunked in capitals",
            chunked.replace("chunked", "Chunked"),
            Whole(&[], b"hello"),
        ),
        probe(
            "HTTP/1.0 to the end",
            "HTTP/1.0 200 OK\r\n\r\nhello",
            Whole(&[b"HTTP/1.1 200"], b"hello"),
        ),
        probe("to the end", format!("{OK}\r\nhello"), Whole(&[], b"hello")),
        probe(
            "an interim answer",
            format!("HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\n{OK}content-length: 2\r\n\r\nok"),
            Whole(&[b"HTTP/1.1 200"], b"ok"),
        ),
        probe(
            "304 with a length",
            "HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\netag: a\r\n\r\n",
            Whole(&[b"HTTP/1.1 304", b"etag: a"], b""),
        ),
        probe(
            "204",
            "HTTP/1.1 204 No Content\r\n\r\n",
            Whole(&[b"HTTP/1.1 204"], b""),
        ),
        probe(
            "an odd status",
            "HTTP/1.1 299 Odd\r\ncontent-length: 1\r\n\r\n.",
            Whole(&[b"HTTP/1.1 299"], b"."),
        ),
        probe(
            "a status without a name",
            "HTTP/1.1 520\r\ncontent-length: 1\r\n\r\n.",
            Whole(&[b"HTTP/1.1 520"], b"."),
        ),
        probe(
            "fields of one name",
            format!("{OK}x-a: 1\r\nx-a: 2\r\ncontent-length: 0\r\n\r\n"),
            Whole(&[b"x-a: 1\r\n", b"x-a: 2\r\n"], b""),
        ),
        probe("a large head", large, Whole(&[b"yyyyy\r\n"], b"")),
        probe("a head that is too large", long, Refused),
        probe(
            "a length and chunks",
            format!(
                "{OK}content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
            ),
            Refused,
        ),
        probe(
            "two lengths",
            format!("{OK}content-length: 2\r\ncontent-length: 5\r\n\r\nhello"),
            Refused,
        ),
        probe(
            "a length with a sign",
            format!("{OK}content-length: +2\r\n\r\nok"),
            Refused,
        ),
        probe(
            "a folded field",
            format!("{OK}x: a\r\n b\r\ncontent-length: 0\r\n\r\n"),
            Refused,
        ),
        probe("no HTTP", "hello\r\n\r\n", Refused),
        probe("nothing", "", Refused),
        probe("half a head", "HTTP/1.1 200 OK\r\ncontent-", Refused),
        probe(
            "half a body",
            format!("{OK}content-length: 10\r\n\r\nhello"),
            Aborted,
        ),
        probe(
            "half a chunk",
            format!("{OK}transfer-encoding: chunked\r\n\r\na\r\nhello"),
            Aborted,
        ),
        probe(
            "no last chunk",
            format!("{OK}transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n"),
            Aborted,
        ),
        probe(
            "a chunk without a size",
            format!("{OK}transfer-encoding: chunked\r\n\r\nxyz\r\nhello\r\n0\r\n\r\n"),
            Aborted,
        ),
        probe(
            "a chunk of no end",
            format!("{OK}transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\nhello"),
            Aborted,
        ),
    ]
}

/// Serves probe N to who asks for `/probe/N`; each connection ends behind its answer.
fn serve(config: Arc<ServerConfig>, pieces: Vec<Vec<Vec<u8>>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let (config, pieces) = (Arc::clone(&config), pieces.clone());
            // A client that goes away is no fault of the test's.
            std::thread::spawn(move || answer(config, stream, &pieces).ok());
        }
    });
    address
}

fn answer(
    config: Arc<ServerConfig>,
    stream: TcpStream,
    pieces: &[Vec<Vec<u8>>],
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let connection = ServerConnection::new(config).map_err(std::io::Error::other)?;
    let mut tls = StreamOwned::new(connection, stream);
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if tls.read(&mut byte)? == 0 {
            return Ok(());
        }
        head.push(byte[0]);
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    let number = text
        .strip_prefix("GET /probe/")
        .and_then(|rest| rest.split(' ').next()?.parse::<usize>().ok());
    for piece in number
        .and_then(|number| pieces.get(number))
        .into_iter()
        .flatten()
    {
        tls.write_all(piece)?;
        tls.flush()?;
    }
    tls.conn.send_close_notify();
    tls.flush()?;
    // All of it has arrived when the other side has closed, too.
    while tls.read(&mut byte)? > 0 {}
    Ok(())
}

#[test]
fn whatever_a_server_says_is_passed_on_as_it_is_meant_or_refused() {
    let mut scene = crate::Scene::dark(crate::agent(), Options::default(), &[]);
    let probes = probes();
    let pieces = probes.iter().map(|probe| probe.pieces.clone()).collect();
    let server = serve(scene.server.pki().server(&["http/1.1"]), pieces);
    let file = |name: &str| scene.folder().join(name).display().to_string();
    let arguments = [
        ("--server", format!("https://{server}")),
        ("--ca", file("ca.crt")),
        ("--node-name", "edge-00".to_owned()),
        ("--listen", "127.0.0.1:0".to_owned()),
        ("--admin-listen", "127.0.0.1:0".to_owned()),
        ("--state-dir", file("state")),
        ("--log-level", "debug".to_owned()),
    ];
    let arguments: Vec<&str> = arguments
        .iter()
        .flat_map(|(flag, value)| [*flag, value.as_str()])
        .collect();
    scene.start_with(&arguments);
    scene.connected();
    for round in 0..2 {
        for (number, probe) in probes.iter().enumerate() {
            let name = format!("{}, round {round}", probe.name);
            let (head, body, well) = ask(scene.client().address(), number);
            let shown = String::from_utf8_lossy(&head);
            match &probe.seen {
                Seen::Whole(fields, expected) => {
                    assert!(well, "{name}: {shown}");
                    for field in *fields {
                        let holds = head.windows(field.len()).any(|part| part == *field);
                        assert!(holds, "{name}: {shown}");
                    }
                    assert_eq!(&body, expected, "{name}: {shown}");
                }
                Seen::Refused => {
                    let code = shown.split(' ').nth(1).unwrap_or_default();
                    assert!(well && ["502", "503"].contains(&code), "{name}: {shown}");
                    let text = String::from_utf8_lossy(&body);
                    assert!(text.starts_with("{\"kind\":\"Status\""), "{name}: {text}");
                }
                Seen::Aborted => assert!(!well, "{name}: {shown}"),
            }
        }
    }
    let healthy = scene.admin().get("/v1/healthz").expect("an answer");
    assert_eq!(healthy.status, 200);
}

/// The head, the body, and whether it ended well, by its own framing.
fn ask(address: SocketAddr, number: usize) -> (Vec<u8>, Vec<u8>, bool) {
    let mut stream = TcpStream::connect(address).expect("the door is open");
    let patience = Some(Duration::from_secs(20));
    stream.set_read_timeout(patience).expect("set");
    let head = format!("GET /probe/{number} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("sent");
    let mut all = Vec::new();
    // An answer that is aborted may end with a reset.
    let closed = stream.read_to_end(&mut all).is_ok();
    let end = all.windows(4).position(|part| part == b"\r\n\r\n");
    let (head, rest) = all.split_at(end.map_or(all.len(), |at| at + 4));
    let text = String::from_utf8_lossy(head).to_ascii_lowercase();
    if text.contains("transfer-encoding: chunked") {
        let body = unchunked(rest);
        return (
            head.to_vec(),
            body.clone().unwrap_or_default(),
            closed && body.is_some(),
        );
    }
    let length = text
        .split("content-length: ")
        .nth(1)
        .and_then(|rest| rest.lines().next()?.parse().ok());
    let bodiless = text.starts_with("http/1.1 304") || text.starts_with("http/1.1 204");
    let well = bodiless || length == Some(rest.len());
    (
        head.to_vec(),
        rest.to_vec(),
        closed && end.is_some() && well,
    )
}

/// The body that chunks make, if the last one is there.
fn unchunked(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = rest.windows(2).position(|part| part == b"\r\n")?;
        let size = std::str::from_utf8(&rest[..line]).ok()?;
        let size = usize::from_str_radix(size, 16).ok()?;
        rest = rest.get(line + 2..)?;
        if size == 0 {
            return (rest == b"\r\n").then_some(body);
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size..)?.strip_prefix(b"\r\n")?;
    }
}
