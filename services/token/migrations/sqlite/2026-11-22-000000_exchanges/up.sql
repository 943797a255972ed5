-- Proofs that were good once, and the sessions that they opened. Times are milliseconds since the epoch, UTC.
CREATE TABLE exchanges (
    proof      TEXT   NOT NULL PRIMARY KEY,
    session    TEXT   NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX exchanges_by_expiry ON exchanges (expires_at);
