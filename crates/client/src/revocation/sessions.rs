//! Which sessions have ended, in as little memory as goes: there may be a million.

use std::collections::BTreeMap;
use std::mem;

use foldhash::quality::RandomState;

use super::id::Id;
use super::table::{Entry, ROOM, Table, short};
use crate::wire::Reason;

/// With how many in each the tables begin to be split in two: few enough that hardly one has more than it has room for.
const FULL: usize = 780;
/// Sessions that have ended; times are seconds since the epoch.
///
/// A set that doubles when it is full moves everything at once, while requests wait, and leaves the half that it had before
/// to the allocator. So these are many tables of one size. With the sessions their number grows, by splitting one table
/// after the other in two (linear hashing, Litwin 1980), and falls again.
#[derive(Debug)]
pub(super) struct Sessions {
    hasher: RandomState,
    tables: Vec<Table>,
    /// The number of tables, rounded down to a power of two: of the first of them, those that have been split have their other
    /// half that much later.
    round: usize,
    /// The short hashes of what expires then, or did so before it was given longer.
    by_expiry: BTreeMap<u32, Vec<u32>>,
    count: usize,
}

impl Default for Sessions {
    fn default() -> Self {
        Self {
            hasher: RandomState::default(),
            tables: vec![Table::new()],
            round: 1,
            by_expiry: BTreeMap::new(),
            count: 0,
        }
    }
}

impl Sessions {
    /// Adds one. Adding it again changes nothing, except that it lives as long as the longer of the two.
    pub(super) fn add(&mut self, id: Id, reason: Reason, expires_at: u32) {
        let short = short(&self.hasher, &id);
        let table = self.table_of(short);
        let entry = Entry {
            id,
            expires_at: expires_at.to_ne_bytes(),
            reason,
        };
        match self.tables[table].find_mut(short, &id) {
            Some(known) if known.expires_at() >= expires_at => return,
            Some(known) => *known = entry,
            None => {
                self.insert(table, short, entry);
                self.count += 1;
                let splitting = self.tables.len() > self.round || self.count > FULL * self.round;
                if splitting && self.count > FULL / 2 * self.tables.len() {
                    self.split();
                }
            }
        }
        self.by_expiry.entry(expires_at).or_default().push(short);
    }

    /// Forgets some of what expired before `now`, at most `most`. Gives whether there may be more.
    pub(super) fn sweep(&mut self, now: u32, most: usize) -> bool {
        let Some(mut oldest) = self.by_expiry.first_entry().filter(|entry| *entry.key() < now) else {
            return false;
        };
        let left = oldest.get_mut();
        let swept = left.split_off(left.len().saturating_sub(most));
        if left.is_empty() {
            oldest.remove();
        }
        for short in swept {
            let table = self.table_of(short);
            // Of several with this hash each is named once; one that was given longer stays.
            let expired = |entry: &Entry| entry.expires_at() < now;
            if self.tables[table].remove(&self.hasher, short, expired) {
                self.count -= 1;
                if self.count < FULL / 4 * self.tables.len() {
                    self.join();
                }
            }
        }
        true
    }

    /// Why it ended, if it did.
    pub(super) fn find(&self, id: &Id) -> Option<Reason> {
        if self.count == 0 {
            return None;
        }
        let short = short(&self.hasher, id);
        let found = self.tables[self.table_of(short)].find(short, id);
        found.map(|entry| entry.reason)
    }

    /// Which table a short hash belongs to.
    fn table_of(&self, short: u32) -> usize {
        let split = short as usize % (2 * self.round);
        if split < self.tables.len() {
            split
        } else {
            split - self.round
        }
    }

    fn insert(&mut self, table: usize, short: u32, entry: Entry) {
        let places = &mut self.tables[table].entries;
        // A table counts the places of some that were removed as taken until it is made anew. By itself it would take that for
        // a lack of room, and double.
        if places.len() == places.capacity() && places.len() < ROOM {
            let kept = mem::replace(&mut self.tables[table], Table::new());
            self.insert_all(kept);
        }
        self.tables[table].insert(&self.hasher, short, entry);
    }

    /// Puts each where it belongs.
    fn insert_all(&mut self, table: Table) {
        for entry in table.entries {
            let short = short(&self.hasher, &entry.id);
            self.insert(self.table_of(short), short, entry);
        }
    }

    /// Makes two of the first table of this round that is whole.
    fn split(&mut self) {
        let whole = self.tables.len() - self.round;
        self.tables.push(Table::new());
        let both = mem::replace(&mut self.tables[whole], Table::new());
        self.insert_all(both);
        if self.tables.len() == 2 * self.round {
            self.round *= 2;
        }
    }

    /// Undoes the last split, if there is one.
    fn join(&mut self) {
        if self.tables.len() == self.round {
            self.round = (self.round / 2).max(1);
        }
        if self.tables.len() > 1
            && let Some(last) = self.tables.pop()
        {
            self.insert_all(last);
            if self.tables.len() < self.tables.capacity() / 4 {
                self.tables.shrink_to(2 * self.tables.len());
            }
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// How many bytes it takes, of which the allocator may need some more.
    #[cfg(test)]
    fn memory(&self) -> usize {
        let entries = self.tables.iter().map(|table| table.entries.allocation_size());
        let tables = entries.sum::<usize>() + self.tables.capacity() * size_of::<Table>();
        let hashes: usize = self.by_expiry.values().map(Vec::capacity).sum();
        tables + hashes * size_of::<u32>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOTS: u32 = 50_000;

    fn id(number: u32) -> Id {
        let mut id = [7; 24];
        id[20..].copy_from_slice(&number.to_be_bytes());
        Id(id)
    }

    fn sweep_all(sessions: &mut Sessions, now: u32) {
        while sessions.sweep(now, 1000) {}
    }

    #[test]
    fn one_takes_at_most_ninety_bytes_however_many_there_are() {
        let mut sessions = Sessions::default();
        let mut most = 0;
        for number in 0..100_000 {
            // As they come when logouts are spread over five minutes.
            sessions.add(id(number), Reason::LoggedOut, 1_800_000_000 + number / 1000);
            if number >= 20_000 {
                most = most.max(sessions.memory() * 10 / sessions.len());
            }
        }
        println!("at most {}.{} bytes each", most / 10, most % 10);
        assert!(most <= 900, "{most}");
        assert_eq!(size_of::<Entry>(), 29);
    }

    #[test]
    fn all_are_found_until_they_expire_and_no_others_and_the_memory_is_given_back() {
        let mut sessions = Sessions::default();
        for number in 0..LOTS {
            sessions.add(id(number), Reason::LoggedOut, 100 + number % 10);
        }
        let found = |sessions: &Sessions, number| sessions.find(&id(number)).is_some();
        assert!((0..LOTS).all(|number| found(&sessions, number)));
        assert!(!(LOTS..2 * LOTS).any(|number| found(&sessions, number)));
        sweep_all(&mut sessions, 105);
        assert!((0..LOTS).all(|number| found(&sessions, number) == (number % 10 >= 5)));
        assert_eq!(sessions.len(), LOTS as usize / 2);
        sweep_all(&mut sessions, 110);
        assert!(sessions.len() == 0 && sessions.by_expiry.is_empty());
        assert_eq!((sessions.tables.len(), sessions.round), (1, 1));
        assert!(sessions.memory() < 64 * 1024, "{}", sessions.memory());
    }

    #[test]
    fn most_others_are_told_from_them_without_a_look_at_them_however_long_they_come_and_go() {
        let mut sessions = Sessions::default();
        for second in 0..40 {
            for number in 0..5_000 {
                sessions.add(id(second * 5_000 + number), Reason::LoggedOut, second);
            }
            sweep_all(&mut sessions, second.saturating_sub(9));
        }
        assert_eq!(sessions.len(), 50_000);
        assert!((150_000..200_000).all(|number| sessions.find(&id(number)).is_some()));
        let looked_at = |number| {
            let short = short(&sessions.hasher, &id(number));
            sessions.tables[sessions.table_of(short)].may_have(short)
        };
        let looks = (1_000_000..1_020_000).filter(|number| looked_at(*number)).count();
        assert!(looks < 20_000 / 3, "{looks}");
    }

    #[test]
    fn the_longer_of_two_counts() {
        let mut sessions = Sessions::default();
        sessions.add(id(1), Reason::LoggedOut, 20);
        sessions.add(id(1), Reason::Deactivated, 30);
        sessions.add(id(1), Reason::Reuse, 25);
        sweep_all(&mut sessions, 30);
        assert_eq!((sessions.find(&id(1)), sessions.len()), (Some(Reason::Deactivated), 1));
        sweep_all(&mut sessions, 31);
        assert_eq!((sessions.find(&id(1)), sessions.len()), (None, 0));
    }
}
