//! The access log: a line for every request, once its answer has been sent.

mod line;
mod sink;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use service_kit::Clock;

pub(crate) use line::Line;
pub(crate) use sink::Sink;

use crate::config::AccessLog;
use line::Scratch;

/// The target of the log whose level decides about lines in text form (`PORTCULLIS_LOG=warn,access=off`).
const TARGET: &str = "access";

/// What one worker writes down of its requests.
pub(crate) struct Journal {
    sink: Option<Arc<Sink>>,
    form: AccessLog,
    clock: Clock,
    scratch: RefCell<Scratch>,
}

impl Journal {
    pub(crate) fn new(sink: Option<Arc<Sink>>, form: AccessLog, clock: Clock) -> Rc<Self> {
        Rc::new(Self {
            sink,
            form,
            clock,
            scratch: RefCell::default(),
        })
    }

    /// Whether lines are written at all.
    pub(crate) fn is_kept(&self) -> bool {
        self.sink.is_some()
    }

    pub(crate) fn write(&self, line: &Line<'_>) {
        if let Some(sink) = &self.sink {
            let mut scratch = self.scratch.borrow_mut();
            sink.push(scratch.write(line, self.form, self.clock.now()));
        }
    }
}

/// Where lines of this form go; nowhere when nobody wants them.
///
/// # Errors
/// When there is no thread to be had for writing them.
pub(crate) fn open(form: AccessLog) -> anyhow::Result<Option<Arc<Sink>>> {
    match form {
        AccessLog::Json => Sink::start(Box::new(std::io::stdout())).map(Some),
        AccessLog::Text if log::log_enabled!(target: TARGET, log::Level::Info) => {
            Sink::start(Box::new(std::io::stderr())).map(Some)
        }
        AccessLog::Text | AccessLog::Off => Ok(None),
    }
}
