-- Fill up a stream's list with decisions that it lost: KEYS[1] hash; ARGV serial, id and body of each. What it holds stays.
local key = KEYS[1]
local last = tonumber(redis.call('HGET', key, 'last') or '0')
for i = 1, #ARGV, 3 do
  local serial, id, body = ARGV[i], 'id:' .. ARGV[i + 1], ARGV[i + 2]
  if not redis.call('HGET', key, serial) then
    redis.call('HSET', key, serial, body)
    if not redis.call('HGET', key, id) then redis.call('HSET', key, id, serial) end
  end
  if tonumber(serial) > last then
    last = tonumber(serial)
    redis.call('HSET', key, 'last', serial)
  end
end
return last
