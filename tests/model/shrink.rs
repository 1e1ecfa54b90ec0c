//! A failing script, made shorter: steps are left out from the end, then one by one, as long as it still fails and there is time.

use std::time::Duration;
use std::time::Instant;

use super::Failure;
use super::Script;
use super::run;
use crate::support::scene::Program;

/// How often a shorter script is tried before it is taken for one that does not fail: threads and sockets have their say.
const TRIES: u32 = 4;
/// How long is looked for a shorter one: what has failed is said in any case.
const TIME: Duration = Duration::from_secs(120);

/// The shortest script that was found to fail, and how.
pub(crate) fn shrunk(
    program: &Program,
    script: &Script,
    failure: Failure,
    place: u8,
) -> (Script, Failure) {
    let ends = Instant::now() + TIME;
    let fails = |script: &Script| {
        (0..TRIES)
            .take_while(|_| Instant::now() < ends)
            .find_map(|_| run(program, script, place).err())
    };
    let (mut best, mut why) = (script.clone(), failure);
    // What came after the step that failed is no part of it; when it failed in the end, halves are tried.
    let mut length = why.step.min(best.steps.len().saturating_sub(1)) + 1;
    while length < best.steps.len() || length > 1 {
        let mut shorter = best.clone();
        shorter.steps.truncate(length);
        if shorter.steps.len() == best.steps.len() {
            length -= length.div_ceil(4);
            continue;
        }
        match fails(&shorter) {
            Some(failure) => {
                (best, why) = (shorter, failure);
                length -= length.div_ceil(4);
            }
            None if best.steps.len() - length <= 1 => break,
            None => length = best.steps.len() - (best.steps.len() - length) / 2,
        }
    }
    let mut at = best.steps.len();
    while at > 0 {
        at -= 1;
        let mut shorter = best.clone();
        shorter.steps.remove(at);
        if let Some(failure) = fails(&shorter) {
            (best, why) = (shorter, failure);
        }
    }
    (best, why)
}
