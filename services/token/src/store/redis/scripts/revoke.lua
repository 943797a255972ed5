-- KEYS: stream
-- ARGV: channel, kind, id, reason, expires_at

publish(KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5])
return 1
