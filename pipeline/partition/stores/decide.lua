-- Append a decision to a stream's list, once: KEYS[1] hash; ARGV id, body, a serial that was given already ('0': none known).
-- The hash holds `last`, a body for each serial, and `id:<id>` -> serial. Returns the serial, the same for the same id.
local key, id = KEYS[1], 'id:' .. ARGV[1]
local known = redis.call('HGET', key, id)
if known then return tonumber(known) end
local last = math.max(tonumber(redis.call('HGET', key, 'last') or '0'), tonumber(ARGV[3])) + 1
local serial = string.format('%d', last)
redis.call('HSET', key, 'last', serial, serial, ARGV[2], id, serial)
return last
