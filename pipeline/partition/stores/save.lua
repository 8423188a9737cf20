-- Write fields and offset of one partition in one step, if the caller still owns it.
-- KEYS[1] hash; ARGV nonce, sequence of the caller's last checkpoint, offset, identity, write id, '1' to replace all fields,
-- time of a snapshot that is made of it and what it says of itself ('' both: none is made), count of removed fields, their names, then name and value of each changed field.
-- Returns {'ok', new sequence} or {'refused', why, owner, sequence, offset}. All checks stand before the first write, and
-- the first write is one that Redis denies when it is out of memory: nothing is ever written by half.
local key = KEYS[1]
local nonce, sequence, offset, identity, write_id, replace, snapped, snapshot = unpack(ARGV, 1, 8)
local owner, stored_sequence, stored_offset, stored_write, era =
  unpack(redis.call('HMGET', key, 'owner', 'sequence', 'offset', 'write', 'era'))
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

local removed = tonumber(ARGV[9])
local first = 10 + removed
local STEP = 4000 -- arguments of one call; Lua's stack ends at 8000
local following = string.format('%d', tonumber(sequence) + 1)
redis.call('HSET', key, 'sequence', following, 'offset', offset, 'identity', identity, 'write', write_id)
-- What is written since the newest snapshot goes beside what that one holds, not in its place.
local mark = era and '@' .. era or ''
for i = first, #ARGV, STEP do
  local part = {}
  for j = i, math.min(i + STEP - 1, #ARGV), 2 do
    part[#part + 1] = 'f:' .. ARGV[j] .. mark
    part[#part + 1] = ARGV[j + 1]
  end
  redis.call('HSET', key, unpack(part))
end
local gone = {}
for i = 10, 9 + removed do gone[ARGV[i]] = true end
if replace == '1' then
  local kept = {}
  for i = first, #ARGV, 2 do kept[ARGV[i]] = true end
  for _, name in ipairs(redis.call('HKEYS', key)) do
    local base = string.match(name, '^f:([^@]*)')
    if base and not kept[base] then gone[base] = true end
  end
end
local deleted, told = {}, {}
for base in pairs(gone) do
  deleted[#deleted + 1] = 'f:' .. base .. mark
  if era then
    told[#told + 1] = 'x:' .. base .. mark
    told[#told + 1] = ''
  end
end
for i = 1, #deleted, STEP do
  redis.call('HDEL', key, unpack(deleted, i, math.min(i + STEP - 1, #deleted)))
end
for i = 1, #told, STEP do
  redis.call('HSET', key, unpack(told, i, math.min(i + STEP - 1, #told)))
end
if snapshot ~= '' then
  local number = era or '0'
  redis.call('HSET', key, 'snap:' .. number, snapshot, 'snapped', snapped, 'era', string.format('%d', tonumber(number) + 1))
end
return {'ok', following}
