DROP INDEX users_legacy_id;
ALTER TABLE users DROP COLUMN legacy_id;
