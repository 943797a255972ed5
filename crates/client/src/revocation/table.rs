//! One of the tables that ended sessions are in.

use std::hash::BuildHasher;

use foldhash::quality::RandomState;
use hashbrown::HashTable;

use super::id::Id;
use crate::wire::Reason;

/// How many sessions a table has room for, in a thousand places.
pub(super) const ROOM: usize = 896;
/// How many bits tell which places of a table may be taken: so many that most are not.
const SIEVE: usize = 4096;
/// After how many removals those bits are set anew.
const STALE: usize = 256;

/// One session; 29 bytes, since nothing in it wants to be aligned.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) id: Id,
    pub(super) expires_at: [u8; 4],
    pub(super) reason: Reason,
}

impl Entry {
    pub(super) fn expires_at(&self) -> u32 {
        u32::from_ne_bytes(self.expires_at)
    }
}

/// Some of the sessions, and what is looked at first: hardly any session that is asked for has ended, and mostly that can be
/// told from a few bits, which stay in a processor's cache where the entries themselves are too many to.
#[derive(Debug)]
pub(super) struct Table {
    /// A bit for each of so many places that an entry may have; set at least where there is one.
    taken: [u64; SIEVE / 64],
    /// How many entries were removed whose bits may still be set.
    stale: usize,
    pub(super) entries: HashTable<Entry>,
}

impl Table {
    pub(super) fn new() -> Self {
        Self {
            taken: [0; SIEVE / 64],
            stale: 0,
            entries: HashTable::with_capacity(ROOM),
        }
    }

    pub(super) fn insert(&mut self, hasher: &RandomState, short: u32, entry: Entry) {
        let (word, bit) = sieve(short);
        self.taken[word] |= bit;
        self.entries
            .insert_unique(place(short), entry, |entry| place(self::short(hasher, &entry.id)));
    }

    /// Removes an entry with that short hash that is `such`, if there is one.
    pub(super) fn remove(&mut self, hasher: &RandomState, short: u32, such: impl Fn(&Entry) -> bool) -> bool {
        let such = |entry: &Entry| such(entry) && self::short(hasher, &entry.id) == short;
        let Ok(entry) = self.entries.find_entry(place(short), such) else {
            return false;
        };
        entry.remove();
        self.stale += 1;
        if self.stale == STALE {
            (self.stale, self.taken) = (0, [0; SIEVE / 64]);
            for entry in &self.entries {
                let (word, bit) = sieve(self::short(hasher, &entry.id));
                self.taken[word] |= bit;
            }
        }
        true
    }

    /// Whether there may be an entry with that short hash.
    pub(super) fn may_have(&self, short: u32) -> bool {
        let (word, bit) = sieve(short);
        self.taken[word] & bit != 0
    }

    pub(super) fn find(&self, short: u32, id: &Id) -> Option<&Entry> {
        let found = || self.entries.find(place(short), |known| known.id == *id);
        self.may_have(short).then(found).flatten()
    }

    pub(super) fn find_mut(&mut self, short: u32, id: &Id) -> Option<&mut Entry> {
        self.entries.find_mut(place(short), |known| known.id == *id)
    }
}

/// Where in its table a short hash is. A table goes by the lowest ten bits and by the highest seven; which table it is, is
/// said by others.
fn place(short: u32) -> u64 {
    u64::from(short >> 22) | u64::from(short >> 15) << 57
}

/// The word and the bit of a short hash in the sieve of its table.
fn sieve(short: u32) -> (usize, u64) {
    let at = short as usize >> (u32::BITS - SIEVE.ilog2());
    (at / 64, 1 << (at % 64))
}

#[expect(clippy::cast_possible_truncation, reason = "it is a hash")]
pub(super) fn short(hasher: &RandomState, entry: &Id) -> u32 {
    hasher.hash_one(entry) as u32
}
