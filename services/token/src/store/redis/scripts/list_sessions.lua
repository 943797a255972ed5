-- KEYS: index
-- ARGV: prefix of the slot's sessions, now, how many at most
-- Gives the sessions of the index that may be live, those that expire last first: of each its id, then its fields and values.

local sessions = {}
for _, id in ipairs(redis.call('ZREVRANGEBYSCORE', KEYS[1], '+inf', '(' .. ARGV[2], 'LIMIT', 0, ARGV[3])) do
  local session = redis.call('HGETALL', ARGV[1] .. id)
  if #session > 0 then
    table.insert(session, 1, id)
    sessions[#sessions + 1] = session
  end
end
return sessions
