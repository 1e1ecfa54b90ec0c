//! The one table: a row as soon as it is known.

/// Prints the head.
pub(crate) fn head() {
    println!("| what | direct | nginx | toono | budget missed |\n|---|---|---|---|---|");
}

/// A row; empty cells are what does not apply.
pub(crate) fn row(what: &str, direct: &str, nginx: &str, toono: &str, missed: &str) {
    println!("| {what} | {direct} | {nginx} | {toono} | {missed} |");
}

/// A row that only the agent has.
pub(crate) fn own(what: &str, toono: &str, missed: &str) {
    row(what, "", "", toono, missed);
}

/// The budget's words if `value` is beyond `limit`.
pub(crate) fn over(value: f64, limit: f64, words: &str) -> String {
    if value > limit {
        words.to_owned()
    } else {
        String::new()
    }
}

/// The value at this part of the sorted whole.
pub(crate) fn quantile(values: &mut [f64], part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    values[((last as f64) * part).round() as usize]
}
