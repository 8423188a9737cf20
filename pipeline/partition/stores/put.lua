-- Store a checkpoint in place of whatever is there, in one step; whoever owned the partition is refused after it.
-- KEYS[1] hash; ARGV nonce, sequence, offset, identity, then name and value of each field.
-- The first write is one that Redis denies when it is out of memory: nothing is ever written by half.
local key = KEYS[1]
local STEP = 4000 -- arguments of one call; Lua's stack ends at 8000
redis.call('HSET', key, 'owner', ARGV[1], 'generation', '-1', 'sequence', ARGV[2], 'offset', ARGV[3], 'identity', ARGV[4],
  'write', ARGV[1])
local gone = {}
for _, name in ipairs(redis.call('HKEYS', key)) do
  local kind = string.match(name, '^(%l+):') -- snapshots too: they are of another history
  if kind == 'f' or kind == 'x' or kind == 'z' or kind == 'snap' then gone[#gone + 1] = name end
end
gone[#gone + 1] = 'era'
gone[#gone + 1] = 'snapped'
for i = 1, #gone, STEP do
  redis.call('HDEL', key, unpack(gone, i, math.min(i + STEP - 1, #gone)))
end
for i = 5, #ARGV, STEP do
  redis.call('HSET', key, unpack(ARGV, i, math.min(i + STEP - 1, #ARGV)))
end
