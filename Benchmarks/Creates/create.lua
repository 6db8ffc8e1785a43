-- Each request creates a ConfigMap of about 1 KiB under a name of its own. Arguments: the token and, for clients that rest
-- between their requests, the longest rest in milliseconds: each waits from none to that, also before its first request.
local count = 0
function setup(thread)
  thread:set("id", tostring(count) .. "-" .. tostring(os.time()))
  count = count + 1
end
function init(arguments)
  number = 0
  headers = { ["authorization"] = "Bearer " .. arguments[1], ["content-type"] = "application/json" }
  filling = string.rep("x", 900)
  local rest = tonumber(arguments[2])
  if rest then
    math.randomseed(os.time() + string.byte(id))
    delay = function() return math.random(0, rest) end
  end
end
function request()
  number = number + 1
  return wrk.format("POST", nil, headers, '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"bench-' .. id .. "-"
    .. number .. '"},"data":{"value":"' .. filling .. '"}}')
end
function done(summary, latency)
  local errors = summary.errors
  io.write(string.format("result %.0f %.2f %.2f %.2f %d\n", summary.requests * 1e6 / summary.duration,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000, latency.max / 1000,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
