-- What the system before knew an account by, for tokens that it issued.
ALTER TABLE users ADD COLUMN legacy_id TEXT;
CREATE UNIQUE INDEX users_legacy_id ON users (legacy_id);
