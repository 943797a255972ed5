-- KEYS: epochs, index, stream
-- ARGV: subject, prefix of the slot's sessions, channel, leeway, now, reason, epoch, and, when there is one, the session
--       that goes on
-- Gives how many sessions ended.

local epoch, except = tonumber(ARGV[7]), ARGV[8]
local seen = redis.call('HGET', KEYS[1], ARGV[1])
if not seen or tonumber(seen) < epoch then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[7])
end

local function spares(id, its_epoch, live)
  return its_epoch >= epoch or (live and id == except)
end

return finish_each(KEYS[2], ARGV[2], KEYS[3], ARGV[3], ARGV[6], tonumber(ARGV[5]), tonumber(ARGV[4]), spares)
