//! Waiting for an agent, for scripts that start one.

use std::io;
use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::time::Duration;
use std::time::Instant;

/// How long between two looks.
const PACE: Duration = Duration::from_millis(100);
/// How long one look may take: the agent answers from memory.
const LOOK: Duration = Duration::from_secs(2);

/// Waits until the operator's door at `address` answers 200 to `path`, `limit` at the most; whether it did.
pub fn wait(address: SocketAddr, path: &str, limit: Duration) -> bool {
    let deadline = Instant::now() + limit;
    while !look(address, path).unwrap_or(false) {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        std::thread::sleep(left.min(PACE));
    }
    true
}

fn look(address: SocketAddr, path: &str) -> io::Result<bool> {
    const OK: &[u8] = b"HTTP/1.1 200 ";
    let mut stream = TcpStream::connect_timeout(&address, LOOK)?;
    stream.set_read_timeout(Some(LOOK))?;
    // So little never waits for room.
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut start = [0; OK.len()];
    stream.read_exact(&mut start)?;
    Ok(start == OK)
}
