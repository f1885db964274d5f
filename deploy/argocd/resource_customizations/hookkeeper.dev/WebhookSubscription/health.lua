-- By default Argo CD gives a script no string library, and an os library only when it is asked for.
local os = require("os")

local function health(status, message)
  return {status = status, message = message}
end

local status = obj.status or {}
local conditions = {}
for _, condition in ipairs(status.conditions or {}) do
  conditions[condition.type] = condition
end
local ready, rotation, stalled = conditions.Ready, conditions.RotationHealthy, conditions.Stalled

-- Both are UTC in RFC 3339, which sorts by time. Nobody writes Ready=False when hookkeeper is not running.
local expires = status.tokenExpirationTime
local expired = expires ~= nil and expires < os.date("!%Y-%m-%dT%H:%M:%S")

if obj.spec.suspend == true then
  if expired then
    return health("Suspended", "suspended; the applied token expired at " .. expires)
  end
  return health("Suspended", "suspended; no calls are made until spec.suspend is false again")
end
local seen = status.observedGeneration or -1
if ready == nil or seen < (obj.metadata.generation or 0) then
  return health("Progressing", "hookkeeper has not judged this version yet")
end
if expired and ready.status == "True" then
  return health("Degraded", "the applied token expired at " .. expires .. " and was not replaced; is hookkeeper running?")
end
if expired or ready.reason == "TokenExpired" then
  return health("Degraded", ready.message)
end
if stalled ~= nil and stalled.status == "True" then
  return health("Degraded", stalled.message)
end
if ready.status == "True" then
  if rotation ~= nil and rotation.status == "False" then
    return health("Healthy", ready.message .. "; the last attempt failed: " .. rotation.message)
  end
  return health("Healthy", ready.message)
end
if ready.reason == "Suspended" then
  return health("Suspended", ready.message)
end
-- hookkeeper goes on trying by itself.
return health("Progressing", ready.message)
