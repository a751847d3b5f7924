//! The time of a line: RFC 3339 in UTC, with microseconds, as tracing-subscriber writes it.
//!
//! Most lines are of the same second as the line before, so each thread keeps the text of its latest second.

use std::cell::RefCell;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

thread_local! {
    /// The latest second since the epoch, and its text without the final `Z`.
    static SECOND: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) };
}

/// Writes the present moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now;

impl FormatTime for Now {
    #[expect(clippy::disallowed_methods, reason = "a line has the time of the machine, for whoever compares logs")]
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        write(writer, SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
    }
}

/// Writes a time since the epoch.
fn write(writer: &mut impl fmt::Write, time: Duration) -> fmt::Result {
    let mut fraction = *b".000000Z";
    let mut rest = time.subsec_micros();
    for digit in fraction.iter_mut().skip(1).take(6).rev() {
        *digit += u8::try_from(rest % 10).unwrap_or_default();
        rest /= 10;
    }
    SECOND.with_borrow_mut(|(second, text)| {
        if *second != time.as_secs() || text.is_empty() {
            *second = time.as_secs();
            let shown = i64::try_from(*second).ok().and_then(|second| Timestamp::from_second(second).ok());
            *text = shown.unwrap_or(Timestamp::MAX).to_string();
            text.truncate("2026-11-28T22:59:45".len());
        }
        writer.write_str(text)
    })?;
    writer.write_str(str::from_utf8(&fraction).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_those_of_rfc_3339() {
        for (seconds, micros, shown) in [
            (0, 0, "1970-01-01T00:00:00.000000Z"),
            (1_777_797_216, 445_001, "2026-05-03T08:33:36.445001Z"),
            (1_777_797_216, 999_999, "2026-05-03T08:33:36.999999Z"),
            (1_777_797_217, 7, "2026-05-03T08:33:37.000007Z"),
            (1_777_797_216, 0, "2026-05-03T08:33:36.000000Z"),
            (u64::MAX, 0, "9999-12-30T22:00:00.000000Z"),
        ] {
            let mut text = String::new();
            write(&mut text, Duration::from_secs(seconds) + Duration::from_micros(micros)).unwrap();
            assert_eq!(text, shown);
        }
    }
}
