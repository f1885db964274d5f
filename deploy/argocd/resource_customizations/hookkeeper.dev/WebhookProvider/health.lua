local function health(status, message)
  return {status = status, message = message}
end

local status = obj.status or {}
local conditions = {}
for _, condition in ipairs(status.conditions or {}) do
  conditions[condition.type] = condition
end
local ready, stalled = conditions.Ready, conditions.Stalled

if obj.spec.suspend == true then
  return health("Suspended", "suspended; no calls are made until spec.suspend is false again")
end
local seen = status.observedGeneration or -1
if ready == nil or seen < (obj.metadata.generation or 0) then
  return health("Progressing", "hookkeeper has not judged this version yet")
end
if stalled ~= nil and stalled.status == "True" then
  return health("Degraded", stalled.message)
end
if ready.status == "True" then
  return health("Healthy", ready.message)
end
-- The provider has not been asked yet, or the Secret is still to come: a sync that brings it must not fail.
if ready.status == "Unknown" or ready.reason == "SecretNotFound" then
  return health("Progressing", ready.message)
end
return health("Degraded", ready.message)
