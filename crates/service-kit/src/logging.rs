//! One log, to standard error: `PORTCULLIS_LOG` filters it (the syntax of `env_logger`; default `info`, and warnings only of
//! the server library), `PORTCULLIS_LOG_FORMAT=json` makes each line an object.

use std::io::Write;

use log::kv;
use serde_json::{Map, Value, json};

struct Pairs<'a>(&'a mut env_logger::fmt::Formatter);

impl<'kvs> kv::VisitSource<'kvs> for Pairs<'_> {
    fn visit_pair(&mut self, key: kv::Key<'kvs>, value: kv::Value<'kvs>) -> Result<(), kv::Error> {
        // Debug-quoting a string keeps what a client sent from breaking the line it is logged on.
        match value.to_borrowed_str() {
            Some(text) if text.chars().all(|c| c.is_ascii_graphic()) => write!(self.0, " {key}={text}")?,
            Some(text) => write!(self.0, " {key}={text:?}")?,
            None => write!(self.0, " {key}={value}")?,
        }
        Ok(())
    }
}

struct Members<'a>(&'a mut Map<String, Value>);

impl<'kvs> kv::VisitSource<'kvs> for Members<'_> {
    fn visit_pair(&mut self, key: kv::Key<'kvs>, value: kv::Value<'kvs>) -> Result<(), kv::Error> {
        let value = match (value.to_u64(), value.to_i64(), value.to_bool()) {
            (Some(number), ..) => json!(number),
            (_, Some(number), _) => json!(number),
            (.., Some(truth)) => json!(truth),
            _ => json!(value.to_string()),
        };
        // What every line has is not to be hidden.
        self.0.entry(key.as_str()).or_insert(value);
        Ok(())
    }
}

/// One event as a JSON object.
fn object(time: &impl ToString, record: &log::Record<'_>) -> Value {
    let mut members = Map::new();
    members.insert("time".to_owned(), json!(time.to_string()));
    members.insert("level".to_owned(), json!(record.level().as_str()));
    members.insert("message".to_owned(), json!(record.args().to_string()));
    members.insert("target".to_owned(), json!(record.target()));
    let _ = record.key_values().visit(&mut Members(&mut members));
    Value::Object(members)
}

/// Starts logging. A second call does nothing, so that tests may call it too.
pub fn start() {
    let filter = crate::config::environment("PORTCULLIS_LOG").unwrap_or_else(|| "info,actix_server=warn".to_owned());
    let as_json = crate::config::environment("PORTCULLIS_LOG_FORMAT").is_some_and(|form| form == "json");
    let _ = env_logger::Builder::new()
        .parse_filters(&filter)
        .format(move |out, record| {
            let time = out.timestamp_millis();
            if as_json {
                return writeln!(out, "{}", object(&time, record));
            }
            let level = record.level();
            let style = out.default_level_style(level);
            write!(out, "{time} {style}{level:5}{style:#} {}", record.args())?;
            let _ = record.key_values().visit(&mut Pairs(out));
            writeln!(out)
        })
        .try_init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_in_json_is_one_object_whatever_a_client_sent() {
        let fields: &[(&str, kv::Value<'_>)] = &[
            ("request_id", kv::Value::from("a\"\n{}")),
            ("status", kv::Value::from(503)),
            ("level", kv::Value::from("forged")),
        ];
        let record = log::Record::builder()
            .args(format_args!("request failed"))
            .level(log::Level::Error)
            .target("here")
            .key_values(&fields)
            .build();
        assert_eq!(
            object(&"now", &record).to_string(),
            r#"{"time":"now","level":"ERROR","message":"request failed","target":"here","request_id":"a\"\n{}","status":503}"#
        );
    }
}
