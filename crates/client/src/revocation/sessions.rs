//! Which sessions have ended, in as little memory as goes: there may be a million.

use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::mem;

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use foldhash::quality::RandomState;
use hashbrown::HashTable;

use crate::wire::Reason;

/// The length of a session id in bytes; as text it has 32 characters.
const ID_LENGTH: usize = 24;
const TEXT_LENGTH: usize = ID_LENGTH / 3 * 4;
/// How many sessions a table has room for, in a thousand places.
const ROOM: usize = 896;
/// With how many in each the tables begin to be split in two: few enough that hardly one has more than it has room for.
const FULL: usize = 780;

/// A session id as the bytes that its text stands for. Of the characters and the length that are taken no two texts stand
/// for the same bytes, so comparing these is comparing ids. Whatever else is called a session goes by its SHA-256, of which so
/// many bytes are plenty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Id([u8; ID_LENGTH]);

impl Id {
    pub(crate) fn of(text: &str) -> Self {
        Self::read(text).unwrap_or_else(|| {
            let mut id = [0; ID_LENGTH];
            let digest = digest::digest(&digest::SHA256, text.as_bytes());
            id.copy_from_slice(&digest.as_ref()[..ID_LENGTH]);
            Self(id)
        })
    }

    /// `None`: it is not such an id as the token service makes.
    fn read(text: &str) -> Option<Self> {
        let mut id = [0; ID_LENGTH];
        let whole = text.len() == TEXT_LENGTH && URL_SAFE_NO_PAD.decode_slice(text, &mut id) == Ok(ID_LENGTH);
        whole.then_some(Self(id))
    }
}

/// One session; 29 bytes, since nothing in it wants to be aligned.
#[derive(Debug)]
struct Entry {
    id: Id,
    expires_at: [u8; 4],
    reason: Reason,
}

impl Entry {
    fn expires_at(&self) -> u32 {
        u32::from_ne_bytes(self.expires_at)
    }
}

/// Sessions that have ended; times are seconds since the epoch.
///
/// A set that doubles when it is full moves everything at once, while requests wait, and leaves the half that it had before
/// to the allocator. So these are many tables of one size. With the sessions their number grows, by splitting one table
/// after the other in two (linear hashing, Litwin 1980), and falls again.
#[derive(Debug)]
pub(super) struct Sessions {
    hasher: RandomState,
    tables: Vec<HashTable<Entry>>,
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
            tables: vec![HashTable::with_capacity(ROOM)],
            round: 1,
            by_expiry: BTreeMap::new(),
            count: 0,
        }
    }
}

/// Where in its table a short hash is. A table goes by the lowest ten bits and by the highest seven; which table it is, is
/// said by others.
fn place(short: u32) -> u64 {
    u64::from(short >> 22) | u64::from(short >> 15) << 57
}

#[expect(clippy::cast_possible_truncation, reason = "it is a hash")]
fn short(hasher: &RandomState, entry: &Id) -> u32 {
    hasher.hash_one(entry) as u32
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
        match self.tables[table].find_mut(place(short), |known| known.id == id) {
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
            let hasher = &self.hasher;
            // Of several with this hash each is named once; one that was given longer stays.
            let expired = |entry: &Entry| entry.expires_at() < now && self::short(hasher, &entry.id) == short;
            if let Ok(entry) = self.tables[table].find_entry(place(short), expired) {
                entry.remove();
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
        let found = self.tables[self.table_of(short)].find(place(short), |known| known.id == *id);
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
        let places = &mut self.tables[table];
        // A table counts the places of some that were removed as taken until it is made anew. By itself it would take that for
        // a lack of room, and double.
        if places.len() == places.capacity() && places.len() < ROOM {
            let kept = mem::replace(places, HashTable::with_capacity(ROOM));
            self.insert_all(kept);
        }
        let hasher = &self.hasher;
        self.tables[table].insert_unique(place(short), entry, |entry| place(self::short(hasher, &entry.id)));
    }

    /// Puts each where it belongs.
    fn insert_all(&mut self, entries: HashTable<Entry>) {
        for entry in entries {
            let short = short(&self.hasher, &entry.id);
            self.insert(self.table_of(short), short, entry);
        }
    }

    /// Makes two of the first table of this round that is whole.
    fn split(&mut self) {
        let whole = self.tables.len() - self.round;
        self.tables.push(HashTable::with_capacity(ROOM));
        let both = mem::replace(&mut self.tables[whole], HashTable::with_capacity(ROOM));
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
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// How many bytes it takes, of which the allocator may need some more.
    #[cfg(test)]
    fn memory(&self) -> usize {
        let tables: usize = self.tables.iter().map(HashTable::allocation_size).sum();
        let hashes: usize = self.by_expiry.values().map(Vec::capacity).sum();
        tables + hashes * size_of::<u32>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOTS: u32 = 50_000;

    fn id(number: u32) -> Id {
        let mut id = [7; ID_LENGTH];
        id[20..].copy_from_slice(&number.to_be_bytes());
        Id(id)
    }

    fn sweep_all(sessions: &mut Sessions, now: u32) {
        while sessions.sweep(now, 1000) {}
    }

    #[test]
    fn only_what_the_token_service_makes_is_such_an_id_and_every_character_counts() {
        let text = "0123456789abcdefABCDEF-_xyzXYZ00";
        let id = Id::read(text).unwrap();
        for at in 0..text.len() {
            let mut other = text.to_owned();
            other.replace_range(at..=at, "q");
            assert_ne!(Id::read(&other), Some(id), "{other}");
        }
        for text in [
            "",
            "s1",
            "0123456789abcdefABCDEF-_xyzXYZ0",
            "0123456789abcdefABCDEF-_xyzXYZ000",
        ] {
            assert_eq!(Id::read(text), None, "{text}");
        }
        for text in [
            "0123456789abcdefABCDEF+/xyzXYZ00",
            "0123456789abcdefABCDEF-_xyzXYZ0=",
            "0123456789abcdefABCDEF-_xyzXYZé",
        ] {
            assert_eq!((text.len(), Id::read(text)), (TEXT_LENGTH, None), "{text}");
        }
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
