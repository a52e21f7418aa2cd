-- What the scripts beside share: options, traffic, trials, the search for a rate without loss, tables and JSON.
--
-- They run inside pktgen-dpdk (23.03): `pktgen EAL-OPTIONS -- -P -m CORES.0 -f scripts/pktgen/SCRIPT.lua`. pktgen takes no
-- arguments for a script, and so options come from the environment: LOAD_SECONDS=30 sets options.seconds.

local common = {}

-- Options of every script, with their defaults. README.md explains them.
local COMMON = {
    send = 0,                       -- pktgen's port that sends
    receive = 0,                    -- and the one that packets come back on
    dst_mac = "02:00:00:00:00:01",  -- of evenkeel's port
    vip = "203.0.113.80",
    port = 53,
    source = "198.18.0.1",          -- the first client's address, of the network that RFC 2544 sets aside (RFC 6890)
    flows = 10000,
    size = 64,                      -- octets of a frame, its checksum included
    burst = 32,
    seconds = 10,                   -- of a trial
    line_mpps = 0,                  -- millions of packets a second that pktgen takes for 100 %; 0: by the link's speed
    wait = 10,                      -- seconds to wait for the link
    json = "",                      -- file for the figures
    stay = 0,                       -- 1: pktgen stays when the script has ended
}

-- The common options and those of a script, as set in the environment. A list of numbers is written 1,10,100.
function common.options(own)
    local options = {}
    for _, defaults in ipairs({ COMMON, own or {} }) do
        for name, default in pairs(defaults) do
            local variable = "LOAD_" .. name:upper()
            local text = os.getenv(variable)
            options[name] = default
            if text and text ~= "" then options[name] = common.parse(variable, text, default) end
        end
    end
    return options
end

-- An option's value, of the type that its default has.
function common.parse(variable, text, default)
    if type(default) == "string" then return text end
    if type(default) == "number" then
        return tonumber(text) or error(variable .. " is not a number: " .. text, 0)
    end
    local list = {}
    for item in text:gmatch("[^,]+") do
        list[#list + 1] = tonumber(item) or error(variable .. " is not a list of numbers: " .. text, 0)
    end
    return list
end

-- Addresses and ports of clients whose pairs make at least so many flows. pktgen steps through both ranges at once, one
-- step each for every packet, which meets all pairs only if the lengths have no factor in common: one is prime.
function common.ranges(flows)
    local PRIME = 1009
    if flows <= PRIME then return 1, math.max(1, math.floor(flows)) end
    local addresses = math.ceil(flows / PRIME)
    if addresses >= PRIME then error("LOAD_FLOWS: at most " .. PRIME * (PRIME - 1), 0) end
    return addresses, PRIME
end

-- The address `steps` after this one.
function common.address(first, steps)
    local number = 0
    for octet in first:gmatch("%d+") do number = number * 256 + tonumber(octet) end
    number = number + steps
    local octets = {}
    for place = 4, 1, -1 do
        octets[place] = string.format("%d", number % 256)
        number = number // 256
    end
    return table.concat(octets, ".")
end

-- Has pktgen send UDP from a range of clients to the VIP.
function common.traffic(options)
    local send, range = tostring(options.send), pktgen.range
    local addresses, ports = common.ranges(options.flows)
    local last = common.address(options.source, addresses - 1)
    pktgen.screen("off")
    pktgen.stop(send)
    common.await_link(options)
    pktgen.set(send, "count", 0)
    pktgen.set(send, "size", options.size)
    pktgen.set(send, "burst", options.burst)
    -- The single packet is not sent, but probes of latency are made after it.
    pktgen.set_type(send, "ipv4")
    pktgen.set_proto(send, "udp")
    pktgen.set_mac(send, "dst", options.dst_mac)
    pktgen.set_ipaddr(send, "dst", options.vip)
    pktgen.set_ipaddr(send, "src", options.source .. "/32")
    pktgen.set(send, "sport", 1024)
    pktgen.set(send, "dport", options.port)

    range.set_type(send, "ipv4")
    range.ip_proto(send, "udp")
    range.dst_mac(send, "start", options.dst_mac)
    common.range(range.dst_ip, send, options.vip, "0.0.0.0", options.vip)
    common.range(range.src_ip, send, options.source, addresses > 1 and "0.0.0.1" or "0.0.0.0", last)
    common.range(range.dst_port, send, options.port, 0, options.port)
    common.range(range.src_port, send, 1024, ports > 1 and 1 or 0, 1024 + ports - 1)
    common.range(range.ttl, send, 64, 0, 64)
    common.range(range.pkt_size, send, options.size, 0, options.size)
    pktgen.set_range(send, "on")
end

-- Waits for the port's link: shared memory has one once the other side is there.
function common.await_link(options)
    for _ = 1, options.wait * 10 do
        if common.link(options):match("UP") then return end
        pktgen.delay(100)
    end
    if not common.link(options):match("UP") then
        error("port " .. options.send .. " has no link after " .. options.wait .. " s", 0)
    end
end

-- As "<UP-10000-FD>".
function common.link(options)
    return pktgen.linkState(tostring(options.send))[options.send] or ""
end

-- Sets one field's range.
function common.range(set, port, first, step, last)
    set(port, "start", first)
    set(port, "inc", step)
    set(port, "min", first)
    set(port, "max", last)
end

-- Packets a second at rate 100, in millions: what the link carries of frames of this size with the 20 octets of preamble
-- and gap before each.
function common.line_mpps(options)
    if options.line_mpps > 0 then return options.line_mpps end
    local state = common.link(options)
    local mbits = tonumber(state:match("(%d+)"))
    if not mbits or mbits == 0 then
        error("port " .. options.send .. " has no link with a known speed (" .. state .. "); set LOAD_LINE_MPPS", 0)
    end
    return mbits / ((options.size + 20) * 8)
end

-- Sends at a rate, in per cent of the line's, for a time; returns what was sent, received and lost, and the rate that
-- pktgen really offered. `short`: that is less than was asked for, so that pktgen or the port is the limit.
function common.trial(options, rate, seconds)
    local send = tostring(options.send)
    seconds = seconds or options.seconds
    rate = math.max(0.0001, math.floor(rate * 10000 + 0.5) / 10000)
    pktgen.set(send, "rate", rate)
    local before = common.settled(options)
    pktgen.start(send)
    pktgen.delay(math.floor(seconds * 1000))
    pktgen.stop(send)
    local after = common.settled(options)
    local trial = { rate = rate, seconds = seconds }
    trial.sent = after.sent - before.sent
    trial.received = after.received - before.received
    trial.lost = math.max(0, trial.sent - trial.received)
    trial.asked_mpps = common.line_mpps(options) * rate / 100
    trial.offered_mpps = trial.sent / seconds / 1e6
    trial.received_mpps = trial.received / seconds / 1e6
    trial.short = trial.offered_mpps < trial.asked_mpps * 0.97
    return trial
end

-- The counters, once nothing is under way any more: pktgen renews them every second.
function common.settled(options)
    local last
    for _ = 1, 15 do
        pktgen.delay(1100)
        local now = common.counters(options)
        if last and now.sent == last.sent and now.received == last.received then return now end
        last = now
    end
    error("the counters do not come to rest: something else sends to pktgen's ports", 0)
end

function common.counters(options)
    local stats = function(port) return common.stats(tostring(port))[port] end
    return { sent = stats(options.send).opackets, received = stats(options.receive).ipackets }
end

-- Later releases leave out the second argument.
function common.stats(port)
    local ok, stats = pcall(pktgen.portStats, port, "port")
    return ok and stats or pktgen.portStats(port)
end

-- Lets every flow begin, slowly, before anything counts.
function common.warm_up(options)
    local mpps = math.min(common.line_mpps(options) / 100, 0.1)
    local seconds = math.max(2, options.flows / (mpps * 1e6) * 2)
    return common.trial(options, 100 * mpps / common.line_mpps(options), seconds)
end

-- The highest rate without loss between two, by RFC 2544, section 26.1: first the highest, and if that loses packets, the
-- middle of what is known to be without loss and what is not, until they are closer than the resolution, a share of the
-- rate. `run(rate)` makes a trial. Returns the best trial without loss, or nil, and what limits it: "loss" (the balancer
-- loses packets above), "line" (it is the highest rate asked for) or "generator" (pktgen does not offer more, or waits for
-- a port that does not take more).
function common.search(run, low, high, resolution)
    local first = run(high)
    if first.lost == 0 then return first, first.short and "generator" or "line" end
    local best = run(low)
    if best.lost > 0 then return nil, "loss" end
    -- Shared memory calls itself a faster link than any generator fills.
    local bad = math.min(high, high * first.offered_mpps / first.asked_mpps)
    while bad - best.rate > best.rate * resolution do
        local trial = run((best.rate + bad) / 2)
        if trial.lost > 0 then
            bad = trial.rate
        elseif trial.short then
            return trial, "generator"
        else
            best = trial
        end
    end
    return best, "loss"
end

-- The line of a table: each value in its column's form, such as "%10d"; numbers that are not whole are cut for "%d".
function common.line(forms, values)
    local cells = {}
    for place, form in ipairs(forms) do
        local value = values[place]
        if type(value) == "number" and form:match("d$") then value = math.floor(value + 0.5) end
        cells[place] = string.format(form, value)
    end
    print(table.concat(cells, "  "))
end

-- Its head, as wide as the columns.
function common.head(forms, names)
    local cells = {}
    for place, form in ipairs(forms) do
        cells[place] = string.format("%" .. form:match("%%(%d+)") .. "s", names[place])
    end
    print(table.concat(cells, "  "))
end

function common.figure(name, unit, value, parameters)
    return { name = name, unit = unit, value = value, parameters = parameters }
end

-- Prints the figures as one line of JSON that begins with RESULT, and writes them to the file that was named. Then
-- pktgen ends, unless it is to stay.
function common.finish(options, figures)
    local document = common.encode({
        machine = { generator = pktgen.info.Pktgen_Version, dpdk = pktgen.info.DPDK_Version },
        figures = figures,
    })
    print("RESULT " .. document)
    if options.json ~= "" then
        local file, reason = io.open(options.json, "w")
        if not file then error("LOAD_JSON: " .. reason, 0) end
        file:write(document, "\n")
        file:close()
    end
    if options.stay ~= 1 then pktgen.quit() end
end

-- JSON of numbers, strings, booleans, lists and tables; keys in order, so that outputs can be compared.
function common.encode(value)
    local kind = type(value)
    if kind == "number" then
        if value ~= value or value == math.huge or value == -math.huge then return "null" end
        return math.type(value) == "integer" and tostring(value) or string.format("%.10g", value)
    elseif kind == "string" then
        return '"' .. value:gsub('[%c"\\]', function(c) return string.format("\\u%04x", c:byte()) end) .. '"'
    elseif kind ~= "table" then
        return tostring(value)
    end
    local items = {}
    if #value > 0 or next(value) == nil then
        for _, item in ipairs(value) do items[#items + 1] = common.encode(item) end
        return "[" .. table.concat(items, ",") .. "]"
    end
    local keys = {}
    for key in pairs(value) do keys[#keys + 1] = key end
    table.sort(keys)
    for _, key in ipairs(keys) do items[#items + 1] = common.encode(key) .. ":" .. common.encode(value[key]) end
    return "{" .. table.concat(items, ",") .. "}"
end

return common
