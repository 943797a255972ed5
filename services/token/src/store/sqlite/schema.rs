//! The tables of `migrations/sqlite`, as Diesel knows them.

diesel::table! {
    sessions (id) {
        id -> Text,
        subject -> Text,
        epoch -> BigInt,
        roles -> Text,
        generation -> BigInt,
        reissues -> Integer,
        replaced_reissues -> Nullable<Integer>,
        rotated_at -> BigInt,
        issued_at -> BigInt,
        created_at -> BigInt,
        last_used_at -> BigInt,
        idle_expires_at -> BigInt,
        absolute_expires_at -> BigInt,
        access_expires_at -> BigInt,
        user_agent -> Nullable<Text>,
        ip -> Nullable<Text>,
        end_reason -> Nullable<Text>,
    }
}

diesel::table! {
    exchanges (proof) {
        proof -> Text,
        session -> Text,
        expires_at -> BigInt,
    }
}

diesel::table! {
    subjects (subject) {
        subject -> Text,
        epoch -> BigInt,
    }
}

diesel::table! {
    revocations (seq) {
        seq -> BigInt,
        kind -> Text,
        id -> Text,
        reason -> Text,
        expires_at -> BigInt,
    }
}

diesel::table! {
    keys (kid) {
        kid -> Text,
        algorithm -> Text,
        state -> Text,
        since -> BigInt,
        public_jwk -> Text,
        sealed -> Binary,
    }
}

diesel::table! {
    clients (id) {
        id -> Text,
        secret_hash -> Text,
        scopes -> Text,
        created_at -> BigInt,
    }
}

diesel::table! {
    feed (id) {
        id -> Text,
        ring_version -> BigInt,
    }
}
