-- KEYS: meta, ring
-- ARGV: an id and a ring version to begin with
-- Gives the ring's version and the ring, empty when there is none.

local known = ensure(KEYS[1], ARGV[1], ARGV[2])
return { known[2], redis.call('GET', KEYS[2]) or '' }
