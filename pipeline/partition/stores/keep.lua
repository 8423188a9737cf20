-- Forget all snapshots of one partition but the newest, and what only they held. What the checkpoint holds stays.
-- KEYS[1] hash; ARGV how many are kept, '-1': all but the oldest. Returns how many were forgotten. It only deletes, so it works where Redis is out of memory.
local key = KEYS[1]
local numbers, versions = {}, {}
for _, name in ipairs(redis.call('HKEYS', key)) do
  local number = string.match(name, '^snap:(%d+)$')
  if number then
    numbers[#numbers + 1] = tonumber(number)
  else
    local kind, base, era = string.match(name, '^([fxz]):([^@]*)@?(%d*)$')
    if kind then
      versions[base] = versions[base] or {}
      table.insert(versions[base], {name, kind, tonumber(era) or 0})
    end
  end
end
table.sort(numbers)
local kept = tonumber(ARGV[1])
local forgotten = kept < 0 and math.min(1, #numbers) or math.max(#numbers - kept, 0)
local gone = {}
for i = 1, forgotten do gone[i] = string.format('snap:%d', numbers[i]) end
-- Of what was written up to the oldest snapshot that is left, only the newest of each field is needed.
local oldest = numbers[forgotten + 1] or math.huge
for _, of in pairs(versions) do
  local last
  for _, version in ipairs(of) do
    if version[3] <= oldest and (not last or version[3] > last[3] or (version[3] == last[3] and version[2] ~= 'x')) then
      last = version
    end
  end
  for _, version in ipairs(of) do
    if version[3] <= oldest and (version ~= last or version[2] == 'x') then gone[#gone + 1] = version[1] end
  end
end
local STEP = 4000 -- arguments of one call; Lua's stack ends at 8000
for i = 1, #gone, STEP do
  redis.call('HDEL', key, unpack(gone, i, math.min(i + STEP - 1, #gone)))
end
return forgotten
