-- All times are milliseconds since the epoch, UTC.
CREATE TABLE sessions (
    id                  TEXT    NOT NULL PRIMARY KEY,
    subject             TEXT    NOT NULL,
    epoch               BIGINT  NOT NULL,
    roles               TEXT    NOT NULL,
    generation          BIGINT  NOT NULL,
    reissues            INTEGER NOT NULL,
    replaced_reissues   INTEGER,
    rotated_at          BIGINT  NOT NULL,
    issued_at           BIGINT  NOT NULL,
    created_at          BIGINT  NOT NULL,
    last_used_at        BIGINT  NOT NULL,
    idle_expires_at     BIGINT  NOT NULL,
    absolute_expires_at BIGINT  NOT NULL,
    access_expires_at   BIGINT  NOT NULL,
    user_agent          TEXT,
    ip                  TEXT,
    end_reason          TEXT
);
CREATE INDEX sessions_by_subject ON sessions (subject);
CREATE INDEX sessions_by_expiry ON sessions (idle_expires_at);

-- The highest epoch seen of each subject that ever had one above zero.
CREATE TABLE subjects (
    subject TEXT   NOT NULL PRIMARY KEY,
    epoch   BIGINT NOT NULL
);

CREATE TABLE revocations (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    kind       TEXT   NOT NULL,
    id         TEXT   NOT NULL,
    reason     TEXT   NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX revocations_by_expiry ON revocations (expires_at);

CREATE TABLE keys (
    kid        TEXT   NOT NULL PRIMARY KEY,
    algorithm  TEXT   NOT NULL,
    state      TEXT   NOT NULL,
    since      BIGINT NOT NULL,
    public_jwk TEXT   NOT NULL,
    sealed     BLOB   NOT NULL
);

CREATE TABLE clients (
    id          TEXT   NOT NULL PRIMARY KEY,
    secret_hash TEXT   NOT NULL,
    scopes      TEXT   NOT NULL,
    created_at  BIGINT NOT NULL
);

-- One row: which feed this is, and how often the key ring has changed.
CREATE TABLE feed (
    id           TEXT   NOT NULL PRIMARY KEY,
    ring_version BIGINT NOT NULL
);
