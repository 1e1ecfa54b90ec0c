//! Points in time: RFC 3339 in JSON, seconds and nanoseconds in protobuf.

/// Seconds since 1970 and nanoseconds of a text such as `2026-11-22T03:25:31.000001Z`.
pub fn parse(text: &str) -> Option<(i64, u32)> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let seconds = number(11, 13)? * 3600 + number(14, 16)? * 60 + number(17, 19)?;
    let fraction = text.get(19..)?.strip_suffix('Z')?;
    let digits = fraction.strip_prefix('.').unwrap_or_default();
    let nanos = format!("{digits:0<9}").get(..9)?.parse().ok()?;
    Some((days(year, month, day) * 86_400 + seconds, nanos))
}

/// The text of it, with six digits of microseconds if so said.
pub fn format(seconds: i64, nanos: u32, micro: bool) -> String {
    let (day, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = date(day);
    let fraction = if micro {
        format!(".{:06}", nanos / 1000)
    } else {
        String::new()
    };
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}

/// Days since 1970-01-01, in the calendar that has always been; years begin in March, so that the leap day is the last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month > 2 { year } else { year - 1 };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let leaps = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leaps + of_year - 719_468
}

/// The date that so many days since 1970-01-01 are.
fn date(day: i64) -> (i64, i64, i64) {
    // Near enough, and then the year and the month that it lies in.
    let mut year = 1970 + day.div_euclid(366);
    while days(year + 1, 1, 1) <= day {
        year += 1;
    }
    let month = (1..=12).rev().find(|month| days(year, *month, 1) <= day);
    let month = month.expect("January began before");
    (year, month, day - days(year, month, 1) + 1)
}

#[cfg(test)]
mod tests {
    use super::format;
    use super::parse;

    #[test]
    fn times_are_read_and_written() {
        for (text, seconds, nanos, micro) in [
            ("1970-01-01T00:00:00Z", 0, 0, false),
            ("2026-11-22T03:25:31Z", 1_795_317_931, 0, false),
            ("2024-02-29T23:59:59.000001Z", 1_709_251_199, 1_000, true),
            ("1969-12-31T23:59:59Z", -1, 0, false),
        ] {
            assert_eq!(parse(text), Some((seconds, nanos)), "{text}");
            assert_eq!(format(seconds, nanos, micro), text);
        }
        assert_eq!(parse("yesterday"), None);
    }
}
