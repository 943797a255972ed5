-- KEYS: meta, ring
-- ARGV: channel, the version it was made from, the new ring
-- Gives 0 when the ring has another version, else 1.

if redis.call('HGET', KEYS[1], 'ring_version') ~= ARGV[2] then
  return 0
end
redis.call('SET', KEYS[2], ARGV[3])
redis.call('HINCRBY', KEYS[1], 'ring_version', 1)
redis.pcall('PUBLISH', ARGV[1], '')
return 1
