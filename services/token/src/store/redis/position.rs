//! Where a reader of the feed stands: in which feed, and in each of its streams after which entry.

/// The beginning of a stream.
const BEGINNING: &str = "0-0";

/// A cursor that was read: `FEED-MS-SEQ`, or `FEED-MS-SEQ.MS-SEQ.…` where the feed has several streams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Position {
    /// Which feed; empty is none.
    pub(super) feed: String,
    /// The last entry known of each stream.
    pub(super) after: Vec<String>,
}

fn is_entry_id(text: &str) -> bool {
    let number = |part: &str| part.parse::<u64>().is_ok() && part.bytes().all(|byte| byte.is_ascii_digit());
    text.split_once('-')
        .is_some_and(|(millis, sequence)| number(millis) && number(sequence))
}

impl Position {
    /// What `cursor` says about a feed of so many `streams`: the beginning of none, when it makes no sense.
    pub(super) fn read(cursor: Option<&str>, streams: usize) -> Self {
        let known = cursor
            .and_then(|cursor| cursor.split_once('-'))
            .map(|(feed, after)| Self {
                feed: feed.to_owned(),
                after: after.split('.').map(str::to_owned).collect(),
            });
        known
            .filter(|position| position.after.len() == streams && position.after.iter().all(|id| is_entry_id(id)))
            .unwrap_or_else(|| Self {
                feed: String::new(),
                after: vec![BEGINNING.to_owned(); streams],
            })
    }

    /// The beginning of each stream.
    pub(super) fn rewind(&mut self) {
        self.after.fill(BEGINNING.to_owned());
    }

    /// The cursor that says this.
    pub(super) fn write(&self) -> String {
        format!("{}-{}", self.feed, self.after.join("."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_as_it_was_written() {
        for (cursor, streams) in [("ab12-17-0", 1), ("ab12-17-0.0-0.9-3", 3)] {
            let position = Position::read(Some(cursor), streams);
            assert_eq!((position.feed.as_str(), position.write().as_str()), ("ab12", cursor));
        }
    }

    #[test]
    fn what_makes_no_sense_is_the_beginning_of_no_feed() {
        for nonsense in [
            "",
            "-",
            "ab12",
            "ab12-17",
            "ab12-17-0.0-0",
            "ab12-x-0",
            "ab12-+1-0",
            "ab12-17-0.",
            "ab12--",
        ] {
            let position = Position::read(Some(nonsense), 1);
            assert_eq!(
                (position.feed.as_str(), position.after.as_slice()),
                ("", &[BEGINNING.to_owned()][..]),
                "{nonsense}"
            );
        }
    }
}
