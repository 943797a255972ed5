-- KEYS: session, index, epochs
-- ARGV: id, subject, epoch, now, idle_expires_at, access_expires_at, leeway, then the session's fields and values
-- Gives 0 when the subject's epoch is higher than the session's, else 1.

-- Entries of the index whose sessions are gone; a day of grace, since clocks differ.
local FORGOTTEN_AFTER = 86400000

local seen = redis.call('HGET', KEYS[3], ARGV[2])
if seen and tonumber(seen) > tonumber(ARGV[3]) then
  return 0
end
local now = tonumber(ARGV[4])
redis.call('HSET', KEYS[1], unpack(ARGV, 8))
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', text(now - FORGOTTEN_AFTER))
remember(KEYS[1], KEYS[2], ARGV[1], now, tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]))
return 1
