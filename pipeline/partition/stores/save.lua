-- Write fields and offset of one partition in one step, if the caller still owns it.
-- KEYS[1] hash; ARGV nonce, sequence of the caller's last checkpoint, offset, identity, write id, '1' to replace all fields,
-- count of removed fields, their names, then name and value of each changed field.
-- Returns {'ok', new sequence} or {'refused', why, owner, sequence, offset}. All checks stand before the first write, and
-- the first write is one that Redis denies when it is out of memory: nothing is ever written by half.
local key = KEYS[1]
local nonce, sequence, offset, identity, write_id, replace = unpack(ARGV, 1, 6)
local owner, stored_sequence, stored_offset, stored_write =
  unpack(redis.call('HMGET', key, 'owner', 'sequence', 'offset', 'write'))
local function refused(why)
  return {'refused', why, owner or '', stored_sequence or '', stored_offset or ''}
end
local function ahead(a, b) -- of decimal numbers beyond what a double holds
  return #a > #b or (#a == #b and a > b)
end
if not owner then return refused('vanished') end
if owner ~= nonce then return refused('owner') end
if stored_write == write_id then return {'ok', stored_sequence} end -- a retry; the first answer was lost
if (stored_sequence or '-1') ~= sequence then return refused('sequence') end
if stored_offset and ahead(stored_offset, offset) then return refused('ahead') end

local removed = tonumber(ARGV[7])
local first = 8 + removed
local STEP = 4000 -- arguments of one call; Lua's stack ends at 8000
local following = string.format('%d', tonumber(sequence) + 1)
redis.call('HSET', key, 'sequence', following, 'offset', offset, 'identity', identity, 'write', write_id)
for i = first, #ARGV, STEP do
  redis.call('HSET', key, unpack(ARGV, i, math.min(i + STEP - 1, #ARGV)))
end
local gone = {}
for i = 8, 7 + removed do gone[#gone + 1] = ARGV[i] end
if replace == '1' then
  local kept = {}
  for i = first, #ARGV, 2 do kept[ARGV[i]] = true end
  for _, name in ipairs(redis.call('HKEYS', key)) do
    if string.sub(name, 1, 2) == 'f:' and not kept[name] then gone[#gone + 1] = name end
  end
end
for i = 1, #gone, STEP do
  redis.call('HDEL', key, unpack(gone, i, math.min(i + STEP - 1, #gone)))
end
return {'ok', following}
