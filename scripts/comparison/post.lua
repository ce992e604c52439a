-- Arguments after `--`: a file, which is the body to POST, then names and values of headers.
-- If its name ends in .lines, each of its lines is a body; they are sent in turn.
-- Prints a line of JSON at the end, which scripts/comparison/wrk.py parses.

function init(args)
  wrk.method = "POST"
  local file = assert(io.open(args[1], "rb"))
  if args[1]:match("%.lines$") then
    send_in_turn(file)
  else
    wrk.body = file:read("*a")
  end
  file:close()
  wrk.headers["Content-Type"] = "application/json"
  for i = 2, #args, 2 do
    wrk.headers[args[i]] = args[i + 1]
  end
end

function send_in_turn(file)
  local bodies, next_one = {}, 0
  for line in file:lines() do
    bodies[#bodies + 1] = line
  end
  function request()
    next_one = next_one % #bodies + 1
    return wrk.format(nil, nil, nil, bodies[next_one])
  end
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '{"requests":%d,"microseconds":%d,"p50":%d,"p99":%d,' ..
    '"status":%d,"connect":%d,"read":%d,"write":%d,"timeout":%d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.status, errors.connect, errors.read, errors.write, errors.timeout))
end
