//! The local syslog: datagrams to a socket (RFC 3164), which never wait for who reads them.

use std::io;
use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

/// Where syslog listens when nothing else is said.
pub const SOCKET: &str = "/dev/log";

/// The facility `daemon`, shifted to where the severity is added.
const DAEMON: u8 = 3 << 3;
/// The severity `warning`.
const WARNING: u8 = 4;
/// The longest packet of RFC 3164.
const LIMIT: usize = 1024;

/// Somebody who takes lines, or will.
#[derive(Debug)]
pub struct Syslog {
    path: PathBuf,
    socket: Option<UnixDatagram>,
    lost: u64,
}

impl Syslog {
    /// Nothing is opened before the first line.
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            socket: None,
            lost: 0,
        }
    }

    /// Sends a line with a severity of RFC 3164 (0 to 7). One for which there is no room is dropped, and how many that were is
    /// told before the next that goes. An error is that nobody listens.
    pub fn send(&mut self, severity: u8, line: &str) -> io::Result<()> {
        if self.lost > 0 {
            let told = format!("{} lines were dropped: syslog was full", self.lost);
            if self.put(WARNING, &told)? {
                self.lost = 0;
            }
        }
        if !self.put(severity, line)? {
            self.lost += 1;
        }
        Ok(())
    }

    /// Whether there was room.
    fn put(&mut self, severity: u8, line: &str) -> io::Result<bool> {
        // No time: that would be the local one, which is not known here, and who receives none puts its own (RFC 3164, 4.3.2).
        let packet = format!(
            "<{}>toono[{}]: {line}",
            DAEMON | severity,
            std::process::id()
        );
        let packet = packet.as_bytes();
        let packet = packet.get(..LIMIT).unwrap_or(packet);
        let full = |error: &io::Error| error.kind() == ErrorKind::WouldBlock;
        if let Some(socket) = &self.socket {
            match socket.send(packet) {
                Ok(_) => return Ok(true),
                Err(error) if full(&error) => return Ok(false),
                // It was started again, and listens on another socket of the same name.
                Err(_) => self.socket = None,
            }
        }
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.connect(&self.path)?;
        match self.socket.insert(socket).send(packet) {
            Ok(_) => Ok(true),
            Err(error) if full(&error) => Ok(false),
            Err(error) => {
                self.socket = None;
                Err(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 2048];
        let length = socket.recv(&mut buffer).expect("a packet");
        let text = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default());
        text.replace(&std::process::id().to_string(), "PID")
    }

    #[test]
    fn lines_go_to_who_listens_are_counted_when_there_is_no_room_and_survive_a_restart() {
        let folder = std::env::temp_dir().join(format!("toono-syslog-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a temporary folder");
        let path = folder.join("log");
        let mut syslog = Syslog::new(path.clone());
        assert!(syslog.send(6, "nobody").is_err());
        let server = UnixDatagram::bind(&path).expect("a socket");
        syslog.send(6, "one").expect("somebody");
        assert_eq!(heard(&server), "<30>toono[PID]: one");
        while syslog.lost < 3 {
            syslog.send(3, "much").expect("somebody, who is slow");
        }
        server.set_nonblocking(true).expect("set");
        while server.recv(&mut [0; 99]).is_ok() {}
        syslog.send(7, &"x".repeat(3000)).expect("somebody");
        assert_eq!(
            heard(&server),
            "<28>toono[PID]: 3 lines were dropped: syslog was full"
        );
        let mut long = [0; 2048];
        assert_eq!(server.recv(&mut long).expect("a packet"), LIMIT);
        drop(server);
        assert!(syslog.send(6, "nobody").is_err());
        std::fs::remove_file(&path).expect("it was there");
        let server = UnixDatagram::bind(&path).expect("a socket");
        syslog.send(6, "again").expect("somebody");
        assert_eq!(heard(&server), "<30>toono[PID]: again");
        std::fs::remove_dir_all(&folder).expect("it was there");
    }
}
