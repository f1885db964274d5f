local actions = {}
-- A request would wait until the suspension is over.
actions["rotate"] = {["disabled"] = obj.spec.suspend == true, ["displayName"] = "Rotate now"}
return actions
