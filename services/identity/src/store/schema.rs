//! The tables, as the migrations make them.

diesel::table! {
    users (id) {
        id -> Text,
        username -> Text,
        username_key -> Text,
        email -> Text,
        email_key -> Text,
        password -> Text,
        is_active -> Bool,
        is_staff -> Bool,
        is_superuser -> Bool,
        roles -> Text,
        epoch -> BigInt,
        created -> BigInt,
        updated -> BigInt,
        legacy_id -> Nullable<Text>,
    }
}

diesel::table! {
    outbox (id) {
        id -> Text,
        kind -> Text,
        subject -> Text,
        payload -> Text,
        created -> BigInt,
        attempts -> Integer,
        next_attempt -> BigInt,
    }
}
