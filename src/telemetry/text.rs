//! The log as text, for a file or a pipe. It looks like the format of tracing-subscriber, which spends most of its time
//! on styling that a file does not have.
//!
//! Invariant: an event is one line, and whatever its values hold, nothing but printable text: control characters are
//! escaped.

use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime as _;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::{LookupSpan, Scope};

use super::moment::Now;

/// Formats events and the fields of spans.
pub(super) struct Text;

impl<S, N> FormatEvent<S, N> for Text
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        Now.format_time(&mut writer)?;
        writer.write_str(match *event.metadata().level() {
            Level::ERROR => " ERROR ",
            Level::WARN => "  WARN ",
            Level::INFO => "  INFO ",
            Level::DEBUG => " DEBUG ",
            Level::TRACE => " TRACE ",
        })?;
        for span in context.event_scope().into_iter().flat_map(Scope::from_root) {
            writer.write_str(span.name())?;
            if let Some(fields) = span.extensions().get::<FormattedFields<N>>()
                && !fields.is_empty()
            {
                writer.write_char('{')?;
                writer.write_str(fields)?;
                writer.write_char('}')?;
            }
            writer.write_str(": ")?;
        }
        write_fields(&mut writer, event)?;
        writer.write_char('\n')
    }
}

impl<'w> FormatFields<'w> for Text {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'w>, fields: R) -> fmt::Result {
        write_fields(&mut writer, fields)
    }
}

fn write_fields(writer: &mut Writer<'_>, fields: impl RecordFields) -> fmt::Result {
    let mut visitor = Fields { writer: Printable(writer), is_first: true, result: Ok(()) };
    fields.record(&mut visitor);
    visitor.result
}

/// Writes `name=value` for each field, and the message as it is.
struct Fields<'a, 'w> {
    writer: Printable<'a, 'w>,
    is_first: bool,
    result: fmt::Result,
}

impl Fields<'_, '_> {
    fn write(&mut self, field: &Field, value: impl FnOnce(&mut Printable<'_, '_>) -> fmt::Result) {
        let is_first = std::mem::replace(&mut self.is_first, false);
        self.result = self.result.and_then(|()| {
            if !is_first {
                self.writer.0.write_char(' ')?;
            }
            if field.name() != "message" {
                self.writer.0.write_str(field.name())?;
                self.writer.0.write_char('=')?;
            }
            value(&mut self.writer)
        });
    }
}

impl Visit for Fields<'_, '_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.write(field, |writer| write!(writer, "{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.write(field, |writer| writer.write_str(value));
        } else if value.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\') {
            self.write(field, |writer| {
                writer.0.write_char('"')?;
                writer.0.write_str(value)?;
                writer.0.write_char('"')
            });
        } else {
            self.record_debug(field, &value);
        }
    }
}

/// Escapes control characters.
struct Printable<'a, 'w>(&'a mut Writer<'w>);

impl fmt::Write for Printable<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if is_printable(text) {
            return self.0.write_str(text);
        }
        text.chars().try_for_each(|c| match c {
            c if c.is_control() => write!(self.0, "{}", c.escape_debug()),
            c => self.0.write_char(c),
        })
    }
}

/// True for text in ASCII without control characters.
fn is_printable(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing::subscriber::with_default;

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Written {
        /// The lines, without their times.
        fn lines(&self) -> Vec<String> {
            let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
            text.lines().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
        }
    }

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn log_everything() {
        tracing::info!(at = "root", "no span");
        let span =
            tracing::error_span!("request", request.id = %"req_1", method = ?"GET", trace.id = tracing::field::Empty);
        let _entered = span.enter();
        tracing::warn!(
            text = "a b",
            quoted = "a\"b\\",
            absent = None::<u64>,
            number = 7,
            no = -1,
            yes = true,
            "a {}",
            "message"
        );
        span.record("trace.id", "4bf9");
        tracing::error!(shown = %"x y", debugged = ?Some("z"), é = "é");
        tracing::debug_span!("inner").in_scope(|| tracing::debug!("in two spans"));
    }

    #[test]
    fn lines_are_those_of_tracing_subscriber() {
        let (own, usual) = (Written::default(), Written::default());
        let builder = || tracing_subscriber::fmt().with_max_level(Level::TRACE).with_ansi(false).with_target(false);
        let writer = |written: &Written| {
            let written = written.clone();
            move || written.clone()
        };
        with_default(builder().fmt_fields(Text).event_format(Text).with_writer(writer(&own)).finish(), log_everything);
        with_default(builder().with_writer(writer(&usual)).finish(), log_everything);
        assert_eq!(own.lines().len(), 4);
        // Between two spans, the usual format has no space.
        let usual: Vec<_> = usual.lines().iter().map(|line| line.replace(":inner:", ": inner:")).collect();
        assert_eq!(own.lines(), usual);
    }

    #[test]
    fn an_event_is_one_line_of_printable_text() {
        let written = Written::default();
        let writer = written.clone();
        let subscriber =
            tracing_subscriber::fmt().event_format(Text).fmt_fields(Text).with_writer(move || writer.clone());
        with_default(subscriber.finish(), || {
            let odd = "a\u{1b}[31m\nb\u{9b}\r\0";
            let _entered = tracing::error_span!("request", odd = %odd).entered();
            tracing::info!(odd, shown = %odd, "{odd}");
        });
        let escaped = r"a\u{1b}[31m\nb\u{9b}\r\0";
        assert_eq!(
            written.lines(),
            [format!(" INFO request{{odd={escaped}}}: {escaped} odd=\"{escaped}\" shown={escaped}")]
        );
    }
}
