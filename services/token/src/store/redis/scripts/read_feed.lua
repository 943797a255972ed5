-- KEYS: stream, and at home: meta
-- ARGV: read after this entry, at most so many; at home: of this feed, an id and a ring version to begin with
-- Gives the feed's id and the ring's version (at home, else empty), where to go on, 1 if there may be more, the entries.

local function parts(id)
  local millis, sequence = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(millis), tonumber(sequence)
end

local function is_after(one, other)
  local millis, sequence = parts(one)
  local other_millis, other_sequence = parts(other)
  return millis > other_millis or (millis == other_millis and sequence > other_sequence)
end

local function last_id()
  if redis.call('EXISTS', KEYS[1]) == 0 then
    return '0-0'
  end
  local info = redis.call('XINFO', 'STREAM', KEYS[1])
  for at = 1, #info, 2 do
    if info[at] == 'last-generated-id' then
      return info[at + 1]
    end
  end
  return '0-0'
end

local after, most = ARGV[1], tonumber(ARGV[2])
local known = { '', '0' }
if KEYS[2] then
  known = ensure(KEYS[2], ARGV[4], ARGV[5])
  if known[1] ~= ARGV[3] then
    after = '0-0'
  end
end
local last = last_id()
-- A position ahead of the stream is of one that was lost, or replaced by an older copy.
if is_after(after, last) then
  after = '0-0'
end
local entries, position = {}, last
for at, entry in ipairs(redis.call('XRANGE', KEYS[1], '(' .. after, '+', 'COUNT', most)) do
  local fields = {}
  for field = 1, #entry[2], 2 do
    fields[entry[2][field]] = entry[2][field + 1]
  end
  entries[at] = { fields.kind, fields.id, fields.reason, fields.expires_at }
  if at == most then
    position = entry[1]
  end
end
local more = #entries == most and 1 or 0
return { known[1], known[2], position, more, entries }
