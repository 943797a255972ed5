-- KEYS: session, stream
-- ARGV: id, prefix of the slot's indexes, channel, leeway, now, reason, and, when it matters, whose it has to be
-- Gives 1, or 0 when the session was not live, or is somebody else's.

local stored = redis.call('HMGET', KEYS[1], 'idle_expires_at', 'absolute_expires_at', 'access_expires_at', 'subject',
  'ended')
if not stored[1] or stored[5] or tonumber(ARGV[5]) >= math.min(tonumber(stored[1]), tonumber(stored[2])) then
  return 0
end
if ARGV[7] and ARGV[7] ~= stored[4] then
  return 0
end
finish(KEYS[1], ARGV[2] .. stored[4], KEYS[2], ARGV[3], ARGV[1], ARGV[6], tonumber(stored[3]), tonumber(ARGV[4]))
return 1
