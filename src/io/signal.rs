//! Signals as a stream.

use std::io;

use async_signal::Signals;
use smol::stream::StreamExt;

/// What the process was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// `SIGTERM` or `SIGINT`: end.
    Stop,
    /// `SIGHUP`: read the files again.
    Reload,
}

/// The signals that the agent listens for.
pub struct Listener(Signals);

impl Listener {
    /// Listens from now on.
    pub fn new() -> io::Result<Self> {
        use async_signal::Signal::{Hup, Int, Term};
        Ok(Self(Signals::new([Term, Int, Hup])?))
    }

    /// The next signal.
    pub async fn next(&mut self) -> Signal {
        loop {
            match self.0.next().await {
                Some(Ok(async_signal::Signal::Hup)) => return Signal::Reload,
                Some(Ok(_)) => return Signal::Stop,
                // The pipe that brings signals can't be read: nothing will come, but the process runs on.
                Some(Err(_)) | None => smol::future::pending().await,
            }
        }
    }
}
