//! Telling who started the process how it is: systemd's datagrams (`sd_notify(3)`, by `NOTIFY_SOCKET`) and s6's newline on a
//! descriptor. Nobody is waited for, and nobody who does not listen is an error.

use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Write;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use crate::io::kernel;

/// Who is told.
#[derive(Debug, Default)]
pub struct Notifier {
    socket: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
    descriptor: Option<File>,
}

impl Notifier {
    /// What the environment says, and the number of a descriptor that was left open for us.
    pub fn new(descriptor: Option<i32>) -> io::Result<Self> {
        let variable = |name| std::env::var(name).ok();
        // Opened anew, as a descriptor that is only a number can't be owned without trust; of a pipe that is the same pipe.
        let open = |number| {
            let path = format!("/proc/self/fd/{number}");
            OpenOptions::new().write(true).open(path)
        };
        let descriptor = descriptor.map(open).transpose()?;
        let own = |pid: String| pid == std::process::id().to_string();
        Ok(Self {
            socket: variable("NOTIFY_SOCKET").and_then(|name| socket(&name).ok()),
            watchdog: variable("WATCHDOG_USEC")
                .filter(|_| variable("WATCHDOG_PID").is_none_or(own))
                .and_then(|micros| micros.parse().ok())
                .filter(|micros| *micros > 0)
                .map(Duration::from_micros),
            descriptor,
        })
    }

    /// How often a sign of life is wanted: twice in the time after which the process is taken for hung.
    pub fn pulse(&self) -> Option<Duration> {
        self.watchdog
            .filter(|_| self.socket.is_some())
            .map(|time| time / 2)
    }

    /// The doors are open.
    pub fn ready(&mut self) {
        self.say_ready();
        if let Some(mut file) = self.descriptor.take() {
            let _ = file.write_all(b"\n");
        }
    }

    /// All is as it was said: behind [`reloading`](Self::reloading).
    pub fn say_ready(&self) {
        self.say("READY=1");
    }

    /// The configuration is being read again; [`say_ready`](Self::say_ready) comes when it was.
    pub fn reloading(&self) {
        self.say(&format!(
            "RELOADING=1\nMONOTONIC_USEC={}",
            kernel::monotonic().unwrap_or(0)
        ));
    }

    /// The process is on its way out.
    pub fn stopping(&self) {
        self.say("STOPPING=1");
    }

    /// A sign of life.
    pub fn alive(&self) {
        self.say("WATCHDOG=1");
    }

    fn say(&self, what: &str) {
        if let Some((socket, to)) = &self.socket {
            // Who does not listen does not want to know.
            let _ = socket.send_to_addr(what.as_bytes(), to);
        }
    }
}

/// `name` is a path, or abstract when it begins with `@`.
fn socket(name: &str) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok((socket, address))
}
