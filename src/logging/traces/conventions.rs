//! The names of fields in OpenTelemetry's semantic conventions, which differ from those in the log.
//!
//! <https://opentelemetry.io/docs/specs/semconv/>

use opentelemetry::{
    Key, KeyValue, Value,
    trace::{SpanKind, Status},
};
use opentelemetry_sdk::trace::SpanData;

/// The fields of spans, and the attributes that they become.
const ATTRIBUTES: [(&str, &str); 7] = [
    ("id", "http.request.header.x-request-id"),
    ("method", "http.request.method"),
    ("route", "http.route"),
    ("status", "http.response.status_code"),
    ("user", "user.id"),
    ("sql", "db.query.text"),
    ("rows", "db.response.returned_rows"),
];

/// Numeric fields, which arrive as texts if they are unsigned.
const NUMBERS: [&str; 7] =
    ["status", "rows", "rooms", "events", "bytes", "appends", "lock_wait_us"];

/// Renames a span's fields so that other programs understand them.
pub(super) fn apply(span: &mut SpanData) {
    for KeyValue { key, value, .. } in &mut span.attributes {
        if NUMBERS.contains(&key.as_str())
            && let Ok(number) = value.as_str().parse()
        {
            *value = Value::I64(number);
        }
    }
    match &*span.name {
        "request" => {
            let name = format!("{} {}", text(span, "method"), text(span, "route"));
            if status(span).is_some_and(|status| status >= 500) {
                span.status = Status::error("");
            }
            span.name = name.into();
            span.span_kind = SpanKind::Server;
        }
        "statement" => span.span_kind = SpanKind::Client,
        _ => return,
    }
    for attribute in &mut span.attributes {
        let known = ATTRIBUTES.iter().find(|(field, _)| attribute.key.as_str() == *field);
        if let Some((_, key)) = known {
            attribute.key = Key::from_static_str(key);
        }
    }
}

fn value<'a>(span: &'a SpanData, field: &str) -> Option<&'a Value> {
    span.attributes.iter().find(|it| it.key.as_str() == field).map(|it| &it.value)
}

fn text(span: &SpanData, field: &str) -> String {
    value(span, field).map(|value| value.as_str().into_owned()).unwrap_or_default()
}

fn status(span: &SpanData) -> Option<i64> {
    match value(span, "status") {
        Some(Value::I64(status)) => Some(*status),
        _ => None,
    }
}
