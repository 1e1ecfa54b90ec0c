//! A parent that starts a process for ever ([`Respawn`] says when), passes signals on to it, and ends with it.

use std::ffi::CStr;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::time::Instant;

use smol::Timer;
use smol::future::FutureExt;

use crate::io::kernel;
use crate::io::kernel::Order;
use crate::io::signal;
use crate::io::signal::Signal;
use crate::rule::respawn::Action;
use crate::rule::respawn::Input;
use crate::rule::respawn::Respawn;

/// Starts a program, by its path and its arguments behind that; its number. Not here, because std does it in 30 KB, and this
/// library is safe code only.
pub type Spawn = fn(&[&CStr]) -> io::Result<i32>;

/// Runs the program of `arguments` until told to end; the exit code to end with. The child sees to it itself that it dies with
/// this process ([`kernel::die_with`]).
pub fn run(arguments: &[&CStr], spawn: Spawn) -> io::Result<u8> {
    let mut signals = signal::Listener::new(true)?;
    let mut child = None;
    // The first start is due at once.
    let mut state = Respawn::Resting(Instant::now(), 0);
    let mut input = Input::Time;
    loop {
        let mut due = None;
        match state.step(input, Instant::now()) {
            Action::Start => match spawn(arguments) {
                Ok(pid) => {
                    log::info!("started pid={pid}");
                    child = Some(pid);
                }
                Err(error) => {
                    log::error!("the agent can't be started: {error}");
                    input = Input::Exited(None);
                    continue;
                }
            },
            Action::Stop(kill) => {
                tell(child, Order::End);
                due = Some(kill);
            }
            Action::Kill => {
                log::error!("the agent does not end, and is killed");
                tell(child, Order::Die);
            }
            Action::Wait(until) => {
                if let (Input::Exited(_), Some(until)) = (input, until) {
                    let pause = until.saturating_duration_since(Instant::now());
                    log::warn!("it is started again in {} s", pause.as_secs() + 1);
                }
                due = until;
            }
            Action::End(code) => return Ok(code),
        }
        let next: Pin<Box<dyn Future<Output = Input> + '_>> =
            Box::pin(next(&mut signals, &mut child, due));
        input = smol::block_on(next);
    }
}

/// What happens next, at `due` the latest.
async fn next(
    signals: &mut signal::Listener,
    child: &mut Option<i32>,
    due: Option<Instant>,
) -> Input {
    loop {
        if let Some(pid) = *child
            && let Some(code) = kernel::ended(pid)
        {
            match code {
                Some(code) => log::warn!("the agent has ended: exit {code}"),
                None => log::warn!("the agent was killed"),
            }
            *child = None;
            return Input::Exited(code);
        }
        let timer = async {
            match due {
                Some(due) => Timer::at(due).await,
                None => smol::future::pending().await,
            };
            None
        };
        match async { Some(signals.next().await) }.or(timer).await {
            None => return Input::Time,
            Some(Signal::Stop) => return Input::Stop,
            Some(Signal::Reload) => tell(*child, Order::ReadAgain),
            Some(Signal::Child) => {}
        }
    }
}

fn tell(child: Option<i32>, order: Order) {
    if let Some(child) = child {
        // It was not waited for, so the number is its own, even if it has just ended.
        let _ = kernel::send(child, order);
    }
}
