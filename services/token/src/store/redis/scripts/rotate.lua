-- KEYS: session, stream
-- ARGV: id, prefix of the slot's indexes, channel, leeway,
--       generation, reissues (as presented), now, replay, recovery, most reissues, 'revoke' or 'deny',
--       idle_expires_at, access_expires_at, the reason that reuse is
-- Gives the name of the outcome and, with 'granted', the session; with 'reused', its subject; with 'ended', why.
-- The rules are those of rotation.rs, word for word; a property test holds the two together.

local stored = redis.call('HMGET', KEYS[1], 'generation', 'reissues', 'replaced_reissues', 'rotated_at', 'issued_at',
  'idle_expires_at', 'absolute_expires_at', 'access_expires_at', 'ended', 'subject')
if not stored[1] then
  return { 'unknown' }
end
if stored[9] then
  return { 'ended', stored[9] }
end

local now = tonumber(ARGV[7])
local absolute_expires_at = tonumber(stored[7])
if now >= math.min(tonumber(stored[6]), absolute_expires_at) then
  return { 'expired' }
end

local leeway = tonumber(ARGV[4])
local generation, reissues = tonumber(stored[1]), tonumber(stored[2])
local replaced_reissues = stored[3] and tonumber(stored[3])
local rotated_at, issued_at = tonumber(stored[4]), tonumber(stored[5])
local presented_generation, presented_reissues = tonumber(ARGV[5]), tonumber(ARGV[6])
local replay, recovery, most_reissues = tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10])
local age = now - issued_at

-- The fields of the chain that change, or nil when the token is a superseded one.
local function decide()
  if presented_generation == generation and presented_reissues == reissues then
    if generation ~= 0 and age < replay then
      return {}
    end
    return {
      'generation', text(math.min(generation + 1, 4294967295)), 'reissues', '0', 'replaced_reissues', ARGV[6],
      'rotated_at', ARGV[7], 'issued_at', ARGV[7],
    }
  end
  if presented_generation == generation - 1 and presented_reissues == replaced_reissues then
    local since_rotation = now - rotated_at
    if replay > 0 and age <= replay and since_rotation <= replay + recovery then
      return { 'issued_at', age > 0 and ARGV[7] or stored[5] }
    end
    if recovery > 0 and since_rotation <= recovery and reissues < most_reissues then
      return { 'reissues', text(reissues + 1), 'issued_at', ARGV[7] }
    end
  end
  return nil
end

local index = ARGV[2] .. stored[10]
local changes = decide()
if not changes then
  if ARGV[11] == 'deny' then
    return { 'denied' }
  end
  finish(KEYS[1], index, KEYS[2], ARGV[3], ARGV[1], ARGV[14], tonumber(stored[8]), leeway)
  return { 'reused', stored[10] }
end

local idle_expires_at = tonumber(ARGV[12]) < absolute_expires_at and ARGV[12] or stored[7]
local access_expires_at = tonumber(ARGV[13]) > tonumber(stored[8]) and ARGV[13] or stored[8]
redis.call('HSET', KEYS[1], 'last_used_at', ARGV[7], 'idle_expires_at', idle_expires_at,
  'access_expires_at', access_expires_at, unpack(changes))
remember(KEYS[1], index, ARGV[1], now, tonumber(idle_expires_at), tonumber(access_expires_at), leeway)
local session = redis.call('HGETALL', KEYS[1])
table.insert(session, 1, 'granted')
return session
