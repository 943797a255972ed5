-- What every script has in common. Times are milliseconds since the epoch, and come from the service's clock.
-- What is written goes through as the text it came as: Lua's numbers would lose digits when they become text again.

local function text(number)
  return string.format('%.0f', number)
end

-- Puts a revocation on the feed and wakes whoever waits for it. The wake-up is a courtesy: who misses it polls.
local function publish(stream, channel, kind, id, reason, expires_at)
  redis.call('XADD', stream, '*', 'kind', kind, 'id', id, 'reason', reason, 'expires_at', expires_at)
  redis.pcall('PUBLISH', channel, '')
end

-- Ends a session. Published first, so that whatever stops in between fails closed.
local function finish(session, index, stream, channel, id, reason, access_expires_at, leeway)
  publish(stream, channel, 'session', id, reason, text(access_expires_at + leeway))
  redis.call('HSET', session, 'ended', reason)
  redis.call('ZREM', index, id)
end

-- Ends the sessions of an index that have not ended and that `spares` does not spare; gives how many. Their keys are in the
-- same slot as the index that names them.
local function finish_each(index, prefix, stream, channel, reason, now, leeway, spares)
  local ended = 0
  for _, id in ipairs(redis.call('ZRANGE', index, 0, -1)) do
    local session = prefix .. id
    local stored = redis.call('HMGET', session, 'epoch', 'idle_expires_at', 'absolute_expires_at', 'access_expires_at',
      'ended')
    if not stored[1] then
      redis.call('ZREM', index, id)
    elseif not stored[5] then
      local access_expires_at = tonumber(stored[4])
      local live = now < math.min(tonumber(stored[2]), tonumber(stored[3]))
      -- One that has expired may still have an access token that has not.
      if (live or access_expires_at + leeway > now) and not spares(id, tonumber(stored[1]), live) then
        finish(session, index, stream, channel, id, reason, access_expires_at, leeway)
        ended = ended + 1
      end
    end
  end
  return ended
end

-- Remembers a session, and its place among its subject's, until neither it nor a token of it can be alive.
local function remember(session, index, id, now, idle_expires_at, access_expires_at, leeway)
  local last = math.max(idle_expires_at, access_expires_at + leeway)
  local ttl = math.min(math.max(last - now, 1), 2 ^ 52)
  redis.call('PEXPIRE', session, text(ttl))
  redis.call('ZADD', index, text(last), id)
  if redis.call('PTTL', index) < ttl then
    redis.call('PEXPIRE', index, text(ttl))
  end
end

-- Which feed this is, and how often the key ring has changed. Both begin at random: a store that lost its data must not
-- look like the one it was.
local function ensure(meta, id, ring_version)
  local known = redis.call('HMGET', meta, 'id', 'ring_version')
  if known[1] and known[2] then
    return known
  end
  redis.call('HSET', meta, 'id', id, 'ring_version', ring_version)
  return { id, ring_version }
end
