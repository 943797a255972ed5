//! The transitions, each one Lua script that Redis runs whole.

use std::sync::LazyLock;

use redis::Script;

macro_rules! scripts {
    ($($(#[$doc:meta])* $name:ident = $file:literal;)*) => {
        $(
            $(#[$doc])*
            pub(super) static $name: LazyLock<Script> = LazyLock::new(|| {
                Script::new(concat!(include_str!("scripts/common.lua"), include_str!(concat!("scripts/", $file))))
            });
        )*
    };
}

scripts! {
    /// Keeps a new session.
    OPEN = "open.lua";
    /// Shows a refresh token.
    ROTATE = "rotate.lua";
    /// Reads a subject's sessions.
    LIST_SESSIONS = "list_sessions.lua";
    /// Ends one session.
    END_SESSION = "end_session.lua";
    /// Ends a subject's sessions but one.
    END_OTHERS = "end_others.lua";
    /// Ends a subject's sessions of older epochs.
    END_SUBJECT = "end_subject.lua";
    /// Publishes a revocation that is not of a session.
    REVOKE = "revoke.lua";
    /// Removes a service account and publishes it.
    DELETE_CLIENT = "delete_client.lua";
    /// Reads a piece of a feed stream.
    READ_FEED = "read_feed.lua";
    /// Reads the key ring and its version.
    READ_RING = "read_ring.lua";
    /// Replaces the key ring against its version.
    REPLACE_RING = "replace_ring.lua";
    /// Forgets expired revocations.
    SWEEP = "sweep.lua";
}
