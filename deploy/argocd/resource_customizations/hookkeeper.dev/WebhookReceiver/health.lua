local function health(status, message)
  return {status = status, message = message}
end

local status = obj.status or {}
local conditions = {}
for _, condition in ipairs(status.conditions or {}) do
  conditions[condition.type] = condition
end
local function holds(type)
  return conditions[type] ~= nil and conditions[type].status == "True"
end
local ready, handing_on, asking = conditions.Ready, conditions.HandingOn, conditions.Asking

local seen = status.observedGeneration or -1
if ready == nil or seen < (obj.metadata.generation or 0) then
  return health("Progressing", "hookkeeper has not judged this version yet")
end
if holds("Stalled") then
  return health("Degraded", conditions.Stalled.message)
end
if ready.status ~= "True" then
  -- It has taken deliveries in before and refuses them now. A new one may wait for its Secret, token or gate: a sync
  -- that brings them must not fail.
  if ready.status == "False" and (status.lastAcceptedTime ~= nil or holds("RemovalRisk")) then
    return health("Degraded", ready.message)
  end
  return health("Progressing", ready.message)
end
if holds("RemovalRisk") then
  return health("Degraded", conditions.RemovalRisk.message)
end
if obj.spec.suspend == true then
  return health("Suspended", "suspended; deliveries are taken in and kept, and handed on when spec.suspend is false again")
end
-- Deliveries are safe, and what follows is about what becomes of them.
local message = ready.message
if holds("CredentialUnusable") then
  message = message .. "; " .. conditions.CredentialUnusable.message
end
for _, condition in ipairs({handing_on or {}, asking or {}}) do
  if condition.status == "False" or condition.reason == "Parked" then
    message = message .. "; " .. condition.message
  end
end
return health("Healthy", message)
