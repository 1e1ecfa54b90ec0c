//! Being written.

use std::process::ExitCode;

/// Runs the command line.
pub fn main(_args: Vec<String>) -> ExitCode {
    ExitCode::SUCCESS
}
