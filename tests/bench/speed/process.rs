//! What the kernel counts for a process.

use std::fs;

use crate::support::scene::Scene;

/// Nanoseconds of CPU of all threads, from the scheduler's own count; where that is not kept, from `stat`'s ticks of 10 ms.
pub(crate) fn cpu(pid: u32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten();
    let exact: u64 = tasks
        .map_while(Result::ok)
        .filter_map(|task| fs::read_to_string(task.path().join("schedstat")).ok())
        .filter_map(|text| text.split(' ').next()?.parse::<u64>().ok())
        .sum();
    if exact > 0 {
        return exact;
    }
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u64 = after
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|text| text.parse::<u64>().ok())
        .sum();
    ticks * 10_000_000
}

/// Makes the peak of resident memory start anew from what is resident now.
pub(crate) fn forget_peak(pid: u32) {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").expect("one's own child may be told so");
}

/// Bytes that the process has caused to be sent to the disk.
pub(crate) fn written(pid: u32) -> u64 {
    let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    let line = io
        .lines()
        .find_map(|line| line.strip_prefix("write_bytes: "));
    line.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Bytes that the agent says it has written to its flash.
pub(crate) fn flash(scene: &Scene) -> u64 {
    let text = scene.admin().get("/metrics").expect("metrics").text();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("toono_flash_written_bytes_total "));
    line.and_then(|text| text.parse().ok())
        .expect("the metric is there")
}
