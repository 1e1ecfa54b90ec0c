//! One run: the server, the cable, the agent as a process, clients, and a script that is played.

mod form;
mod history;
mod play;
mod reflector;
mod script;
mod seen;
mod shrink;
mod stage;

pub(crate) use script::Script;
pub(crate) use shrink::shrunk;

use play::Play;

use crate::support::scene::Program;

/// What went wrong, and what was seen until then.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) what: String,
    /// The step that was being done, from 0; all of them in the end.
    pub(crate) step: usize,
    pub(crate) journal: Vec<String>,
}

/// Plays a script with the agent that `program` is. `place` is below 200 and of nobody else who plays at the time.
pub(crate) fn run(program: &Program, script: &Script, place: u8) -> Result<(), Failure> {
    let mut play = Play::new(program, script, place);
    let mut at = 0;
    let mut done = Ok(());
    while done.is_ok() && at < script.steps.len() {
        play.note(format!("step {at}: {:?}", script.steps[at]));
        done = play.step(script.steps[at]);
        if done.is_ok() {
            at += 1;
        }
    }
    let done = done.and_then(|()| play.end());
    // A client may have found something that nothing waited for.
    done.and_then(|()| play.leave()).map_err(|what| Failure {
        what,
        step: at,
        journal: play.journal(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixty_random_runs_keep_to_the_model() {
        let next = std::sync::atomic::AtomicU64::new(1);
        std::thread::scope(|scope| {
            for place in 0..12 {
                let next = &next;
                scope.spawn(move || {
                    loop {
                        let seed = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        if seed > 60 {
                            return;
                        }
                        let (agent, script) = (crate::agent(), Script::new(seed));
                        if let Err(failure) = run(&agent, &script, place) {
                            let (script, failure) = shrunk(&agent, &script, failure, place);
                            panic!(
                                "seed {} step {}: {}\n{script:#?}\n{}",
                                script.seed,
                                failure.step,
                                failure.what,
                                failure.journal.join("\n")
                            );
                        }
                    }
                });
            }
        });
    }
}
