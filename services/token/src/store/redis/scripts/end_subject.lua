-- KEYS: epochs, index, stream
-- ARGV: subject, prefix of the slot's sessions, channel, leeway, now, reason, epoch
-- Gives how many sessions ended. The sessions' keys are in the same slot as the index that names them.

local epoch, now, leeway = tonumber(ARGV[7]), tonumber(ARGV[5]), tonumber(ARGV[4])
local seen = redis.call('HGET', KEYS[1], ARGV[1])
if not seen or tonumber(seen) < epoch then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[7])
end
local ended = 0
for _, id in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
  local session = ARGV[2] .. id
  local stored = redis.call('HMGET', session, 'epoch', 'idle_expires_at', 'absolute_expires_at', 'access_expires_at',
    'ended')
  if not stored[1] then
    redis.call('ZREM', KEYS[2], id)
  elseif not stored[5] and tonumber(stored[1]) < epoch then
    local access_expires_at = tonumber(stored[4])
    -- One that has expired may still have an access token that has not.
    local live = now < math.min(tonumber(stored[2]), tonumber(stored[3])) or access_expires_at + leeway > now
    if live then
      finish(session, KEYS[2], KEYS[3], ARGV[3], id, ARGV[6], access_expires_at, leeway)
      ended = ended + 1
    end
  end
end
return ended
