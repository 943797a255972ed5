//! One log, to standard error: `PORTCULLIS_LOG` filters it (the syntax of `env_logger`; default `info`, and warnings only of the server library).

use std::io::Write;

use log::kv;

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

/// Starts logging. A second call does nothing, so that tests may call it too.
pub fn start() {
    let filter = crate::config::environment("PORTCULLIS_LOG").unwrap_or_else(|| "info,actix_server=warn".to_owned());
    let _ = env_logger::Builder::new()
        .parse_filters(&filter)
        .format(|out, record| {
            let time = out.timestamp_millis();
            let level = record.level();
            let style = out.default_level_style(level);
            write!(out, "{time} {style}{level:5}{style:#} {}", record.args())?;
            let _ = record.key_values().visit(&mut Pairs(out));
            writeln!(out)
        })
        .try_init();
}
