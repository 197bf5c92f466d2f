-- Tables, strings, closures and coroutines: script.lua SCALE.
local scale = tonumber(arg[1])
local index, parts = {}, {}
for i = 1, 40000 * scale do
  local key = string.format('%04x', i * 7919 % 65537)
  local row = index[key:sub(1, 2)] or {}
  index[key:sub(1, 2)] = row
  row[#row + 1] = key .. string.rep('y', i % 40)
  parts[#parts + 1] = key
end
local keys = {}
for key in pairs(index) do keys[#keys + 1] = key end
table.sort(keys)
for _, key in ipairs(keys) do
  table.sort(index[key])
  print(key, #index[key], index[key][1])
end
local text = table.concat(parts, ' ')
print(#text, select(2, text:gsub('%x%x(%d)', '%1')), (text:reverse():find('abc', 1, true)))
local function generate(n)
  return coroutine.wrap(function()
    for i = 1, n do coroutine.yield(i, ('z'):rep(i % 300)) end
  end)
end
local sum = 0
for number, word in generate(20000 * scale) do sum = sum + number * #word end
print(sum)
local list
for i = 1, 100000 do list = { next = list, value = i } end
local length = 0
while list do length, list = length + 1, list.next end
collectgarbage()
print(length, pcall(string.rep, 'x', 1 << 60))
