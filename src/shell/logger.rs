//! One line a record, to standard error (time, level, what happened, `key=value` at the end) or to syslog, which adds time and
//! level itself.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::PoisonError;

use log::LevelFilter;
use log::Log;
use log::Metadata;
use log::Record;

use crate::io::process;
use crate::io::syslog::Syslog;

struct Logger;

/// Syslog, if it is logged to.
static SYSLOG: Mutex<Option<Syslog>> = Mutex::new(None);

/// Logs records up to `level` from now on, to the syslog at `socket` while somebody listens there, else to standard error.
/// Records of other crates are logged from `warn` up.
pub fn start(level: LevelFilter, socket: Option<PathBuf>) {
    *SYSLOG.lock().unwrap_or_else(PoisonError::into_inner) = socket.map(Syslog::new);
    // A second call in one process (tests) keeps the first logger and takes the new level.
    let _ = log::set_logger(&Logger);
    log::set_max_level(level);
}

/// Whether lines go where who reads standard error does not look.
pub fn is_elsewhere() -> bool {
    let syslog = SYSLOG.lock().unwrap_or_else(PoisonError::into_inner);
    syslog.is_some()
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("toono") || metadata.level() <= log::Level::Warn
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let what = record.args().to_string().replace('\n', " ");
            if let Some(syslog) = &mut *SYSLOG.lock().unwrap_or_else(PoisonError::into_inner)
                && syslog.send(severity(record.level()), &what).is_ok()
            {
                return;
            }
            let line = format!(
                "{} {:<5} {what}\n",
                utc(process::unix_time()),
                record.level()
            );
            // Nobody is there to be told when standard error is gone.
            let _ = std::io::stderr().lock().write_all(line.as_bytes());
        }
    }

    fn flush(&self) {}
}

/// The level as RFC 3164 counts.
fn severity(level: log::Level) -> u8 {
    match level {
        log::Level::Error => 3,
        log::Level::Warn => 4,
        log::Level::Info => 6,
        log::Level::Debug | log::Level::Trace => 7,
    }
}

/// Seconds since 1970 as RFC 3339 in UTC (days to a date after Howard Hinnant's `civil_from_days`).
fn utc(unix: u64) -> String {
    let (days, seconds) = (unix / 86_400, unix % 86_400);
    let z = days + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 {
        month_index + 3
    } else {
        month_index - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339_before_and_after_2038() {
        for (unix, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_795_509_999, "2026-11-24T08:46:39Z"),
            (2_147_483_648, "2038-01-19T03:14:08Z"),
            (4_102_444_799, "2099-12-31T23:59:59Z"),
        ] {
            assert_eq!(utc(unix), text);
        }
    }
}
