//! The command: hands its arguments to the library, and starts processes for it.

use std::ffi::CStr;
use std::ffi::c_char;
use std::ffi::c_int;
use std::ffi::c_void;
use std::io;
use std::ptr;

fn main() -> std::process::ExitCode {
    toono::shell::cli::main(std::env::args().collect(), spawn)
}

unsafe extern "C" {
    static environ: *const *const c_char;
    fn posix_spawn(
        pid: *mut c_int,
        path: *const c_char,
        actions: *const c_void,
        attributes: *const c_void,
        argv: *const *const c_char,
        envp: *const *const c_char,
    ) -> c_int;
}

/// Starts a program, by its path and its arguments behind that, with all that this process has; its number.
///
/// The one unsafe thing in this package. `std::process::Command` does it too, and brings 30 KB of code for what else it can.
fn spawn(arguments: &[&CStr]) -> io::Result<i32> {
    let Some(program) = arguments.first() else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let mut argv: Vec<*const c_char> = arguments.iter().map(|word| word.as_ptr()).collect();
    argv.push(ptr::null());
    let mut pid = 0;
    // SAFETY: the words live, and end with a zero, until the call returns, and so does `argv`, which ends with a null; null is
    // a choice for actions and attributes (POSIX). Nothing in this program changes the environment.
    let error = unsafe {
        posix_spawn(
            &mut pid,
            program.as_ptr(),
            ptr::null(),
            ptr::null(),
            argv.as_ptr(),
            environ,
        )
    };
    match error {
        0 => Ok(pid),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}
