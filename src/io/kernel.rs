//! What the kernel alone can be asked for, and std does not ask: limits, privileges, locks, kinds of file systems, finer
//! options of sockets, children.

use std::io;
use std::net::TcpStream;
use std::time::Duration;

use rustix::net::sockopt;
use rustix::process;
use rustix::time;

pub mod lock;
pub mod medium;
pub mod user;

/// Takes as many descriptors as the process may have (the soft limit, 1,024 as a rule, is there for programs that use
/// `select`); how many that is.
pub fn descriptors() -> usize {
    let limits = process::getrlimit(process::Resource::Nofile);
    let raised = process::Rlimit {
        current: limits.maximum,
        ..limits
    };
    // Refused, the soft limit stays.
    let limit = match process::setrlimit(process::Resource::Nofile, raised) {
        Ok(()) => limits.maximum,
        Err(_) => limits.current,
    };
    limit.map_or(usize::MAX, |limit| {
        usize::try_from(limit).unwrap_or(usize::MAX)
    })
}

/// Lets the kernel give `stream` up when its peer has not acknowledged for `silence` (`TCP_USER_TIMEOUT`), and ask whether
/// it is there after 30 s without a byte.
pub fn give_up_after(stream: &TcpStream, silence: Duration) -> io::Result<()> {
    let millis = u32::try_from(silence.as_millis()).unwrap_or(u32::MAX);
    sockopt::set_tcp_user_timeout(stream, millis)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, Duration::from_secs(30))?;
    Ok(())
}

/// Microseconds of `CLOCK_MONOTONIC`, as systemd wants them. Asked of a timer that is never due, for what asks the clock itself
/// brings 3 KB of code that finds it without a system call.
pub fn monotonic() -> io::Result<u64> {
    const NEVER: u32 = 1 << 31;
    let timer = time::timerfd_create(time::TimerfdClockId::Monotonic, time::TimerfdFlags::CLOEXEC)?;
    let due = time::Timespec {
        tv_sec: NEVER.into(),
        tv_nsec: 0,
    };
    let once = time::Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let setting = time::Itimerspec {
        it_interval: once,
        it_value: due,
    };
    time::timerfd_settime(&timer, time::TimerfdTimerFlags::ABSTIME, &setting)?;
    let left = Duration::try_from(time::timerfd_gettime(&timer)?.it_value).unwrap_or_default();
    let since = Duration::from_secs(NEVER.into()).saturating_sub(left);
    Ok(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

/// Has this process killed when its parent dies, and makes it a process group of its own, so that what a terminal tells the
/// group reaches it once, through its parent. False if the parent is not (or no longer) `parent`. A change of user takes it
/// back, so it comes behind that.
pub fn die_with(parent: i32) -> io::Result<bool> {
    process::set_parent_process_death_signal(Some(process::Signal::KILL))?;
    // Whose process leads a session is a group of its own already.
    let _ = process::setpgid(None, None);
    // It may have died before.
    let current = process::getppid().map(process::Pid::as_raw_pid);
    Ok(current == Some(parent))
}

/// What a child can be told.
#[derive(Clone, Copy, Debug)]
pub enum Order {
    /// `SIGTERM`.
    End,
    /// `SIGHUP`.
    ReadAgain,
    /// `SIGKILL`.
    Die,
}

/// Tells a child that was not waited for.
pub fn send(child: i32, order: Order) -> io::Result<()> {
    let signal = match order {
        Order::End => process::Signal::TERM,
        Order::ReadAgain => process::Signal::HUP,
        Order::Die => process::Signal::KILL,
    };
    let pid = process::Pid::from_raw(child).ok_or(io::ErrorKind::NotFound)?;
    process::kill_process(pid, signal)?;
    Ok(())
}

/// Whether a child has ended, and then its exit code, none if it was killed. It is told once.
pub fn ended(child: i32) -> Option<Option<u8>> {
    let pid = process::Pid::from_raw(child)?;
    match process::waitpid(Some(pid), process::WaitOptions::NOHANG) {
        Ok(None) | Err(rustix::io::Errno::INTR) => None,
        Ok(Some((_, status))) => Some(
            status
                .exit_status()
                .and_then(|code| u8::try_from(code).ok()),
        ),
        // There is no such child any more.
        Err(_) => Some(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn the_monotonic_clock_is_the_one_that_instants_are_of() {
        let (before, start) = (monotonic().expect("a timer"), Instant::now());
        while start.elapsed() < Duration::from_millis(2) {}
        let (after, within) = (monotonic().expect("a timer"), start.elapsed());
        let passed = Duration::from_micros(after - before);
        assert!(passed >= Duration::from_millis(2) && passed >= within.saturating_sub(passed));
        // Seconds since the boot, which no test machine has had for ten years.
        assert!(before > 0 && before < 10 * 365 * 86_400 * 1_000_000);
    }

    #[test]
    fn a_child_that_there_is_not_has_ended() {
        assert_eq!(ended(i32::MAX), Some(None));
        assert!(send(i32::MAX, Order::End).is_err() && send(0, Order::End).is_err());
    }
}
