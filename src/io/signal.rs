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
    /// `SIGCHLD`: a child has ended.
    Child,
}

/// The signals that the process listens for.
pub struct Listener(Signals);

impl Listener {
    /// Listens from now on, to the end of `children` too.
    pub fn new(children: bool) -> io::Result<Self> {
        use async_signal::Signal::{Child, Hup, Int, Term};
        let all = [Term, Int, Hup, Child];
        let all = all.iter().take(if children { 4 } else { 3 });
        Ok(Self(Signals::new(all)?))
    }

    /// The next signal.
    pub async fn next(&mut self) -> Signal {
        loop {
            match self.0.next().await {
                Some(Ok(async_signal::Signal::Hup)) => return Signal::Reload,
                Some(Ok(async_signal::Signal::Child)) => return Signal::Child,
                Some(Ok(_)) => return Signal::Stop,
                // The pipe that brings signals can't be read: nothing will come, but the process runs on.
                Some(Err(_)) | None => smol::future::pending().await,
            }
        }
    }
}
