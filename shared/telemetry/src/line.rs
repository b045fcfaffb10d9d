//! A log line: `{"timestamp", "level", "message", <fields of the event and of its spans>, "target"}`.
//!
//! tracing-subscriber's own JSON keeps a span's fields apart from the event's. Here they are at the same level, so
//! that one filter finds all lines of a request, a run or an order: `filter run_id = "..."` in CloudWatch Logs Insights.

use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, JsonFields, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormattedFields};
use tracing_subscriber::registry::{LookupSpan, Scope};

/// Formats events as such lines. Times are RFC 3339 in UTC; if names are equal, the innermost field is kept.
pub(crate) struct Line;

#[derive(Serialize)]
struct Record<'a> {
    timestamp: String,
    level: &'a str,
    message: Value,
    #[serde(flatten)]
    fields: Map<String, Value>,
    target: &'a str,
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> FormatEvent<S, JsonFields> for Line {
    fn format_event(
        &self,
        context: &FmtContext<'_, S, JsonFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Map::new();
        for span in context.event_scope().into_iter().flat_map(Scope::from_root) {
            if let Some(of_span) = span.extensions().get::<FormattedFields<JsonFields>>() {
                fields.extend(object(&of_span.fields));
            }
        }
        let mut of_event = String::new();
        JsonFields::new().format_fields(Writer::new(&mut of_event), event)?;
        fields.extend(object(&of_event));

        let mut timestamp = String::new();
        SystemTime.format_time(&mut Writer::new(&mut timestamp))?;
        let metadata = event.metadata();
        let message = fields.remove("message").unwrap_or_default();
        let record = Record { timestamp, level: metadata.level().as_str(), message, fields, target: metadata.target() };
        writeln!(writer, "{}", serde_json::to_string(&record).map_err(|_| fmt::Error)?)
    }
}

fn object(json: &str) -> Map<String, Value> {
    serde_json::from_str(json).unwrap_or_default()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing::{error_span, field, info};

    use super::*;

    /// What is logged meanwhile.
    pub(crate) fn logged(doing: impl FnOnce()) -> Vec<Value> {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .fmt_fields(JsonFields::new())
            .event_format(Line)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, doing);
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

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

    #[test]
    fn fields_of_spans_and_event_stand_at_the_top() {
        let lines = logged(|| {
            let request = error_span!("invocation", request_id = "r-1", later = field::Empty, never = field::Empty);
            let _request = request.entered();
            tracing::Span::current().record("later", "told");
            let _run = error_span!("orders", run_id = Some("run-1"), order_id = "outer", none = None::<&str>).entered();
            info!(order_id = "inner", orders = 3, error = "said \"no\"\n", "Done {}", 5);
        });
        let mut line = lines[0].clone();
        let timestamp = line.as_object_mut().unwrap().remove("timestamp").unwrap();
        assert!(timestamp.as_str().unwrap().ends_with('Z'), "{timestamp}");
        let expected = serde_json::json!({
            "level": "INFO", "message": "Done 5", "request_id": "r-1", "later": "told", "run_id": "run-1", "order_id": "inner",
            "orders": 3, "error": "said \"no\"\n", "target": "telemetry::line::tests",
        });
        assert_eq!((lines.len(), line), (1, expected));
    }

    #[test]
    fn a_line_outside_of_any_span_has_its_own_fields() {
        let lines = logged(|| info!(code = "x", "Alone"));
        assert_eq!((&lines[0]["message"], &lines[0]["code"]), (&"Alone".into(), &"x".into()));
    }
}
