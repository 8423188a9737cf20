-- Put fields that only snapshots hold into less room, if the caller still owns the partition: where another history was put in their place, theirs are others.
-- KEYS[1] hash; ARGV nonce, then of each field its name without its kind, and what it is packed. Returns how many were. What was forgotten meanwhile stays so.
-- It deletes first, so it works where Redis is out of memory.
local key = KEYS[1]
if redis.call('HGET', key, 'owner') ~= ARGV[1] then return 0 end
local packed = 0
for i = 2, #ARGV, 2 do
  if redis.call('HDEL', key, 'f:' .. ARGV[i]) == 1 then
    redis.call('HSET', key, 'z:' .. ARGV[i], ARGV[i + 1])
    packed = packed + 1
  end
end
return packed
