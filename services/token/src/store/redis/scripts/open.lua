-- KEYS: session, index, epochs, and, where the session is opened with a proof that is good once, the proof's record
-- ARGV: id, subject, epoch, now, idle_expires_at, access_expires_at, leeway, when the proof expires,
--       then the session's fields and values
-- Gives 'opened'; 'stale' when the subject's epoch is higher than the session's; or the id of the session that the proof
-- has opened before.

-- Entries of the index whose sessions are gone; a day of grace, since clocks differ.
local FORGOTTEN_AFTER = 86400000

local before = KEYS[4] and redis.call('GET', KEYS[4])
if before then
  return before
end
local seen = redis.call('HGET', KEYS[3], ARGV[2])
if seen and tonumber(seen) > tonumber(ARGV[3]) then
  return 'stale'
end
local now = tonumber(ARGV[4])
if KEYS[4] then
  redis.call('SET', KEYS[4], ARGV[1], 'PX', text(math.min(math.max(tonumber(ARGV[8]) - now, 1), 2 ^ 52)))
end
redis.call('HSET', KEYS[1], unpack(ARGV, 9))
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', text(now - FORGOTTEN_AFTER))
remember(KEYS[1], KEYS[2], ARGV[1], now, tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]))
return 'opened'
