-- KEYS: the session that is kept, index, stream
-- ARGV: id of that session, subject, prefix of the slot's sessions, channel, leeway, now, reason
-- Gives how many sessions ended, or nothing when the one to keep is not a live one of the subject's.

local now = tonumber(ARGV[6])
local kept = redis.call('HMGET', KEYS[1], 'subject', 'idle_expires_at', 'absolute_expires_at', 'ended')
if kept[1] ~= ARGV[2] or kept[4] or now >= math.min(tonumber(kept[2]), tonumber(kept[3])) then
  return false
end

local function spares(id)
  return id == ARGV[1]
end

return finish_each(KEYS[2], ARGV[3], KEYS[3], ARGV[4], ARGV[7], now, tonumber(ARGV[5]), spares)
