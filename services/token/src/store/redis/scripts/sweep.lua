-- KEYS: stream
-- ARGV: now, how many to look at
-- Forgets revocations that have expired, beginning with the oldest, and gives how many. What a longer-lived one hides is
-- found once that one has expired too. The stream remembers its last id, so positions in it stay good.

local now, expired = tonumber(ARGV[1]), {}
for _, entry in ipairs(redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', ARGV[2])) do
  for field = 1, #entry[2], 2 do
    if entry[2][field] == 'expires_at' and tonumber(entry[2][field + 1]) < now then
      expired[#expired + 1] = entry[1]
    end
  end
end
if #expired == 0 then
  return 0
end
return redis.call('XDEL', KEYS[1], unpack(expired))
