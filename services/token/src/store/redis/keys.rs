//! What the keys in Redis are called.
//!
//! Every key begins with a hash tag, and all keys of one subject have the same, so that one script may touch them all.
//! A single Redis has one tag. A cluster has several, each with sessions, their indexes, and a stream of the feed for
//! their revocations: ending a session and publishing it is one step in one slot there too.

use crate::session::SessionId;

/// How many parts the sessions in a cluster are split into: as many slots, on at most as many primaries.
const CLUSTER_SHARDS: u8 = 16;

/// How a store is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    shards: u8,
}

/// The keys that share one hash tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shard(String);

impl Layout {
    /// Of one Redis, with or without replicas.
    pub(super) const SINGLE: Self = Self { shards: 1 };
    /// Of a Redis cluster.
    pub(super) const CLUSTER: Self = Self { shards: CLUSTER_SHARDS };

    /// Every shard; the first is home to what belongs to no subject.
    pub(super) fn shards(self) -> impl Iterator<Item = Shard> {
        (0..self.shards).map(move |number| self.shard(number))
    }

    /// Where what belongs to no subject lives: which feed this is, the key ring, service accounts, other revocations.
    pub(super) fn home(self) -> Shard {
        self.shard(0)
    }

    /// Where a session lives, and everything else of its subject. Ids begin with what a subject's sessions share.
    pub(super) fn of_session(self, id: SessionId) -> Shard {
        self.shard(id.as_bytes()[0] % self.shards)
    }

    /// Where everything of a subject lives.
    pub(super) fn of_subject(self, subject: &str) -> Shard {
        self.of_session(SessionId::new(subject))
    }

    fn shard(self, number: u8) -> Shard {
        Shard(if self.shards == 1 {
            "{portcullis}".to_owned()
        } else {
            format!("{{portcullis:{number}}}")
        })
    }
}

impl Shard {
    /// What the keys of sessions begin with; the id follows. Each is a hash.
    pub(super) fn session_prefix(&self) -> String {
        format!("{}:session:", self.0)
    }

    /// A session.
    pub(super) fn session(&self, id: SessionId) -> String {
        format!("{}:session:{id}", self.0)
    }

    /// Which session a proof that is good once has opened (the session's id).
    pub(super) fn exchange(&self, proof: &str) -> String {
        format!("{}:exchange:{proof}", self.0)
    }

    /// What the keys of indexes begin with; the subject follows.
    pub(super) fn index_prefix(&self) -> String {
        format!("{}:subject:", self.0)
    }

    /// The ids of a subject's sessions, by the time they are forgotten (a sorted set).
    pub(super) fn index(&self, subject: &str) -> String {
        format!("{}:subject:{subject}", self.0)
    }

    /// The highest epoch seen of each subject (a hash).
    pub(super) fn epochs(&self) -> String {
        format!("{}:epochs", self.0)
    }

    /// The revocations (a stream).
    pub(super) fn stream(&self) -> String {
        format!("{}:feed", self.0)
    }

    /// Which feed this is, and how often the key ring has changed (a hash).
    pub(super) fn meta(&self) -> String {
        format!("{}:meta", self.0)
    }

    /// The key ring (JSON).
    pub(super) fn ring(&self) -> String {
        format!("{}:ring", self.0)
    }

    /// The service accounts, by id (a hash of JSON).
    pub(super) fn clients(&self) -> String {
        format!("{}:clients", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_of_a_subject_has_one_hash_tag() {
        for subject in ["a", "b", "c"] {
            let shard = Layout::CLUSTER.of_subject(subject);
            assert_eq!(Layout::CLUSTER.of_session(SessionId::new(subject)), shard);
            assert!(Layout::CLUSTER.shards().any(|one| one == shard));
        }
        assert_eq!(Layout::SINGLE.of_subject("a"), Layout::SINGLE.home());
    }
}
