//! How much memory is held, as the counting allocator of the example tells it. In `cargo test` nobody counts, and all
//! figures are 0.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// So many bytes were allocated.
#[allow(dead_code)] // By the example's allocator only.
pub(crate) fn took(bytes: usize) {
    let held = HELD.fetch_add(bytes, Relaxed).saturating_add(bytes);
    PEAK.fetch_max(held, Relaxed);
}

/// So many bytes were given back.
#[allow(dead_code)]
pub(crate) fn gave(bytes: usize) {
    HELD.fetch_sub(bytes, Relaxed);
}

/// What is held now.
pub(crate) fn held() -> usize {
    HELD.load(Relaxed)
}

/// Runs `work` and says how much more than before was held at its peak.
pub(crate) fn peak<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = held();
    let outer = PEAK.swap(before, Relaxed);
    let result = work();
    let peak = PEAK.fetch_max(outer, Relaxed);
    (result, peak.saturating_sub(before))
}

/// Runs `work`, which may hold no more than `limit` bytes more at its peak.
pub(crate) fn within<T>(limit: usize, work: impl FnOnce() -> T) -> T {
    let (result, peak) = peak(work);
    assert!(
        peak <= limit,
        "{peak} bytes were held at once, {limit} allowed"
    );
    result
}
