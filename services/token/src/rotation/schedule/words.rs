//! Schedules in words, so that one that fails can be read.

use std::fmt;

use super::{Answer, Event, Schedule};
use crate::rotation::Serial;

impl fmt::Display for Serial {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.generation, self.reissues)
    }
}

impl fmt::Display for Event {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time =
            |formatter: &mut fmt::Formatter<'_>, at: i64| write!(formatter, "{:>9}.{:03} s  ", at / 1000, at % 1000);
        match self {
            Self::Shown {
                at, by, serial, answer, ..
            } => {
                time(formatter, *at)?;
                let by = format!("{by:?}").to_lowercase();
                match answer {
                    Answer::Granted(given) => write!(formatter, "the {by} shows {serial} and is given {given}"),
                    Answer::Reuse => write!(formatter, "the {by} shows {serial}: reuse, and the session ends"),
                    Answer::Over => write!(formatter, "the {by} shows {serial}, but the session is over"),
                }
            }
            Self::Broken {
                at,
                held,
                given,
                crashed,
                ..
            } => {
                time(formatter, *at)?;
                let what = if *crashed {
                    "the service crashes"
                } else {
                    "a message is lost"
                };
                match given {
                    Some(given) => write!(formatter, "{what}: the holder of {held} does not hear of {given}"),
                    None => write!(formatter, "{what}: the holder of {held} has no answer"),
                }
            }
            Self::Copied { at, serial } => {
                time(formatter, *at)?;
                write!(formatter, "the thief copies {serial}")
            }
            Self::Forged { at, admitted } => {
                time(formatter, *at)?;
                let outcome = if *admitted { "let in" } else { "refused" };
                write!(formatter, "a forged token is {outcome}")
            }
        }
    }
}

impl fmt::Debug for Schedule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{:?}, {:?}:", self.holder, self.windows)?;
        for event in self.play() {
            writeln!(formatter, "{event}")?;
        }
        Ok(())
    }
}
