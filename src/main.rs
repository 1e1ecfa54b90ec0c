//! The one binary: hands its arguments to the library.

fn main() -> std::process::ExitCode {
    toono::shell::cli::main(std::env::args().collect())
}
