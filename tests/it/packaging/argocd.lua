-- Runs a script as Argo CD does (util/lua/lua.go there): of Lua's libraries there are `base`, `table` and
-- `package`, and `require("os")` gives `time` and `date`.
--   glua argocd.lua SCRIPT INPUT
-- INPUT is Lua that returns the object. What the script returns is printed as JSON.
local script, object = assert(loadfile(arg[1])), dofile(arg[2])
local concat, format, gsub, write = table.concat, string.format, string.gsub, io.write
local byte = string.byte
local safe = {time = os.time, date = os.date}

local libraries = {}
for _, name in ipairs({"channel", "coroutine", "debug", "io", "math", "os", "string"}) do
  libraries[name] = true
end
debug.setmetatable("", nil)
for name in pairs(libraries) do
  _G[name], package.loaded[name] = nil, nil
end
package.preload.os = function()
  return safe
end

local encode
local encoders = {
  ["nil"] = function() return "null" end,
  boolean = tostring,
  number = function(value) return format("%.17g", value) end,
  string = function(value)
    return '"' .. gsub(value, '[%c"\\]', function(letter) return format("\\u%04x", byte(letter)) end) .. '"'
  end,
  -- An empty table is a list, as it is for Argo CD.
  table = function(value)
    local parts = {}
    if #value > 0 or next(value) == nil then
      for _, item in ipairs(value) do
        parts[#parts + 1] = encode(item)
      end
      return "[" .. concat(parts, ",") .. "]"
    end
    for name, item in pairs(value) do
      parts[#parts + 1] = encode(name) .. ":" .. encode(item)
    end
    return "{" .. concat(parts, ",") .. "}"
  end,
}
encode = function(value)
  return encoders[type(value)](value)
end

obj = object
write(encode((script())))
