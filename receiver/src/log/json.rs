//! Log lines as JSON objects, one a line.
//!
//! The lines are those of `tracing-subscriber`'s own JSON format with its fields beside the message, at a
//! fraction of the cost: nothing is copied into texts of its own first. There is a line for every event,
//! and it is written on the way to the answer.
//!
//! Spans are not written: there are none.

use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_log::NormalizeEvent as _;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Formats log lines; for `event_format`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Json;

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        // What comes by way of the `log` crate has its origin among its fields.
        let normalized = event.normalized_metadata();
        let metadata = normalized.as_ref().unwrap_or_else(|| event.metadata());
        writer.write_str(r#"{"timestamp":""#)?;
        SystemTime.format_time(&mut writer)?;
        writer.write_str(r#"","level":""#)?;
        writer.write_str(metadata.level().as_str())?;
        writer.write_char('"')?;
        let mut members = Members {
            out: &mut writer,
            result: Ok(()),
        };
        event.record(&mut members);
        members.text("target", metadata.target());
        members.result?;
        writer.write_str("}\n")
    }
}

/// Writes fields as further members of an object.
struct Members<'a, 'w> {
    out: &'a mut Writer<'w>,
    result: fmt::Result,
}

impl Members<'_, '_> {
    /// Writes `,"name":` and the value.
    fn member(&mut self, name: &str, value: impl FnOnce(&mut Writer<'_>) -> fmt::Result) {
        if self.result.is_ok() {
            self.result = self.try_member(name, value);
        }
    }

    fn try_member(
        &mut self,
        name: &str,
        value: impl FnOnce(&mut Writer<'_>) -> fmt::Result,
    ) -> fmt::Result {
        self.out.write_str(",\"")?;
        Escaped(self.out).write_str(name)?;
        self.out.write_str("\":")?;
        value(self.out)
    }

    fn text(&mut self, name: &str, value: &str) {
        self.member(name, |out| {
            out.write_char('"')?;
            Escaped(out).write_str(value)?;
            out.write_char('"')
        });
    }

    fn field(&mut self, field: &Field, value: impl FnOnce(&mut Writer<'_>) -> fmt::Result) {
        let name = field.name();
        // Of the `log` crate's records: they are the line's own target and level.
        if !name.starts_with("log.") {
            self.member(name.strip_prefix("r#").unwrap_or(name), value);
        }
    }
}

impl Visit for Members<'_, '_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.field(field, |out| {
            out.write_char('"')?;
            write!(Escaped(out), "{value:?}")?;
            out.write_char('"')
        });
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.field(field, |out| {
            out.write_char('"')?;
            Escaped(out).write_str(value)?;
            out.write_char('"')
        });
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.field(field, |out| write!(out, "{value}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.field(field, |out| write!(out, "{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.field(field, |out| write!(out, "{value}"));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.field(field, |out| {
            if value.is_finite() {
                write!(out, "{value:?}")
            } else {
                out.write_str("null")
            }
        });
    }
}

/// What is written to it stands within a JSON string.
struct Escaped<'a, 'w>(&'a mut Writer<'w>);

impl fmt::Write for Escaped<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.bytes().position(is_escaped) {
            let (plain, special) = rest.split_at(at);
            self.0.write_str(plain)?;
            let mut characters = special.chars();
            match characters.next() {
                Some('"') => self.0.write_str("\\\"")?,
                Some('\\') => self.0.write_str("\\\\")?,
                Some('\n') => self.0.write_str("\\n")?,
                Some('\r') => self.0.write_str("\\r")?,
                Some('\t') => self.0.write_str("\\t")?,
                Some(control) => write!(self.0, "\\u{:04x}", u32::from(control))?,
                None => {}
            }
            rest = characters.as_str();
        }
        self.0.write_str(rest)
    }
}

/// ASCII only, so a text can be cut there.
const fn is_escaped(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    /// Keeps what is written.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Lines {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    impl Lines {
        fn objects(&self) -> Vec<serde_json::Map<String, serde_json::Value>> {
            let bytes = self.0.lock().unwrap().clone();
            String::from_utf8(bytes)
                .unwrap()
                .lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect()
        }
    }

    fn log_all() {
        let nasty: String = (0..0x100_u32).filter_map(char::from_u32).collect();
        let impossible = io::Error::other("not \\ possible");
        let impossible: &(dyn std::error::Error + 'static) = &impossible;
        tracing::info!("plain");
        tracing::warn!(
            id = %nasty,
            r#type = nasty.as_str(),
            debug = ?Some("a\"b"),
            count = 7_u64,
            below = -7_i64,
            yes = true,
            half = 0.5,
            whole = 2.0,
            nan = f64::NAN,
            absent = None::<&str>,
            error = impossible,
            "a {} message\n", "formatted"
        );
        tracing::error!(target: "another::target", "");
    }

    #[test]
    fn r39_lines_are_those_of_the_stock_format() {
        let (ours, theirs) = (Lines::default(), Lines::default());
        let builder = || tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE);
        let stock = builder().with_writer(theirs.clone()).json();
        let own = builder().with_writer(ours.clone()).event_format(Json);
        tracing::subscriber::with_default(stock.flatten_event(true).finish(), log_all);
        tracing::subscriber::with_default(own.finish(), log_all);
        let (ours, theirs) = (ours.objects(), theirs.objects());
        assert_eq!(ours.len(), 3);
        for (mut own, mut stock) in ours.into_iter().zip(theirs) {
            let [own_time, stock_time] = [&mut own, &mut stock].map(|object| {
                let time = object.remove("timestamp").unwrap();
                time.as_str().unwrap().to_owned()
            });
            assert_eq!(own_time.len(), stock_time.len());
            assert!(own_time.parse::<jiff::Timestamp>().is_ok(), "{own_time}");
            assert_eq!(own, stock);
        }
    }
}
