-- KEYS: clients, stream
-- ARGV: channel, kind, id, reason, expires_at
-- Gives 0 when there is no such client, else 1.

if redis.call('HEXISTS', KEYS[1], ARGV[3]) == 0 then
  return 0
end
publish(KEYS[2], ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5])
redis.call('HDEL', KEYS[1], ARGV[3])
return 1
