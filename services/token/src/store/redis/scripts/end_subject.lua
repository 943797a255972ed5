-- KEYS: epochs, index, stream
-- ARGV: subject, prefix of the slot's sessions, channel, leeway, now, reason, epoch, and, when there is one, the session
--       that goes on with the new epoch
-- Gives how many sessions ended.

local epoch, except = tonumber(ARGV[7]), ARGV[8]
local seen = redis.call('HGET', KEYS[1], ARGV[1])
if not seen or tonumber(seen) < epoch then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[7])
end

local function spares(session, id, its_epoch, live)
  if its_epoch >= epoch then
    return true
  end
  if live and id == except then
    redis.call('HSET', session, 'epoch', ARGV[7])
    return true
  end
  return false
end

return finish_each(KEYS[2], ARGV[2], KEYS[3], ARGV[3], ARGV[6], tonumber(ARGV[5]), tonumber(ARGV[4]), spares)
