//! Why the process ends before its time, and with which exit code.

use std::fmt;

/// The command line is wrong (`EX_USAGE` of sysexits.h).
pub const USAGE: u8 = 64;

/// Why the process can't run.
#[derive(Debug)]
pub enum Error {
    /// What the configuration says can't be used.
    Config(String),
    /// The state folder can't be used.
    State(String),
    /// Another agent uses the state folder.
    Busy(String),
    /// Something failed that is nobody's mistake in writing: a door that can't be opened, say.
    Failed(String),
}

impl Error {
    /// The exit code: 1, or one of sysexits.h.
    pub fn code(&self) -> u8 {
        match self {
            Self::Config(_) => 78, // EX_CONFIG
            Self::State(_) => 74,  // EX_IOERR
            Self::Busy(_) => 75,   // EX_TEMPFAIL
            Self::Failed(_) => 1,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(why) | Self::State(why) | Self::Busy(why) | Self::Failed(why) => {
                f.write_str(why)
            }
        }
    }
}

impl std::error::Error for Error {}
