//! A failing script, made shorter: steps are left out from the end, then one by one, as long as it still fails.

use super::Failure;
use super::Script;
use super::run;
use crate::support::scene::Program;

/// How often a shorter script is tried before it is taken for one that does not fail: threads and sockets have their say.
const TRIES: u32 = 4;

/// The shortest script that was found to fail, and how.
pub(crate) fn shrunk(
    program: &Program,
    script: &Script,
    failure: Failure,
    place: u8,
) -> (Script, Failure) {
    let fails = |script: &Script| (0..TRIES).find_map(|_| run(program, script, place).err());
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
