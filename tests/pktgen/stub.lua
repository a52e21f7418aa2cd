-- What scripts/pktgen uses of pktgen-dpdk's Lua functions, in virtual time: a link, a generator that offers so much, and a
-- balancer that forwards so much. Functions take the arguments that pktgen 23.03 takes, and no others.

local stub = {}

-- A pktgen whose world is `world`:
--   link_mbits     speed of the link
--   link_after_s   seconds until it is up
--   generator_mpps what pktgen is able to offer
--   capacity_mpps  what the balancer forwards without loss
--   newcomer_mpps  the same of packets to port 54, each of which is a new flow
--   fails_after_s  a trial longer than this loses a packet at rates above fails_above_mpps
--   probes         whether latency() knows "rate" and "entropy"
function stub.new(world)
    local now, shown_at = 0, -1
    local sending, rate, dport = false, 100, 0
    local sent, received, started, owed = 0, 0, 0, 0
    local shown = { sent = 0, received = 0 }
    local probing, probes, average = false, 0, 0
    local calls = { trials = {}, ranges = {} }

    local function port(text)
        assert(type(text) == "string" and text:match("^%d+$"), "a list of ports is a string: " .. tostring(text))
        return tonumber(text)
    end

    local function arguments(name, count, ...)
        local given = select("#", ...)
        if given ~= count then error(name .. ", wrong number of arguments", 0) end
    end

    local function offered_mpps()
        local line = world.link_mbits / ((calls.size + 20) * 8)
        return math.min(line * rate / 100, world.generator_mpps)
    end

    local function pass(seconds)
        local offered = offered_mpps()
        local capacity = dport == 54 and world.newcomer_mpps or world.capacity_mpps
        local forwarded = math.min(offered, capacity)
        sent = sent + math.floor(offered * 1e6 * seconds + 0.5)
        received = received + math.floor(forwarded * 1e6 * seconds + 0.5)
        if probing then
            probes = probes + math.floor(seconds * 1000)
            average = 10 / (1 - math.min(0.99, offered / capacity))
        end
    end

    local pktgen = { info = { Pktgen_Version = "stub", DPDK_Version = "stub" }, range = {} }

    function pktgen.screen(...) arguments("screen", 1, ...) end

    function pktgen.set(...)
        arguments("set", 3, ...)
        local ports, what, value = ...
        port(ports)
        assert(tonumber(value), what .. " is not a number")
        if what == "rate" then
            assert(value > 0 and value <= 100, "rate: " .. value)
            rate = value
        elseif what == "size" then
            calls.size = value
        elseif what == "dport" then
            dport = value
        else
            assert(what == "count" or what == "burst" or what == "sport", "set does not support " .. what)
        end
    end

    for _, name in ipairs({ "set_type", "set_proto", "set_range" }) do
        pktgen[name] = function(...)
            arguments(name, 2, ...)
            port((...))
        end
    end
    for _, name in ipairs({ "set_mac", "set_ipaddr" }) do
        pktgen[name] = function(...)
            arguments(name, 3, ...)
            port((...))
        end
    end
    for _, name in ipairs({ "dst_ip", "src_ip", "dst_port", "src_port", "ttl", "pkt_size", "dst_mac" }) do
        pktgen.range[name] = function(...)
            arguments(name, 3, ...)
            local ports, what, value = ...
            port(ports)
            assert(what == "start" or what == "inc" or what == "min" or what == "max", name .. ": " .. what)
            calls.ranges[name .. " " .. what] = value
        end
    end
    for _, name in ipairs({ "set_type", "ip_proto" }) do
        pktgen.range[name] = function(...) arguments(name, 2, ...) end
    end

    function pktgen.linkState(...)
        arguments("linkState", 1, ...)
        local state = now < (world.link_after_s or 0) and "<--Down-->" or "<UP-" .. world.link_mbits .. "-FD>"
        return { [port((...))] = state, n = 1 }
    end

    function pktgen.start(...)
        arguments("start", 1, ...)
        assert(port((...)) == 0 and not sending)
        sending, started = true, now
    end

    function pktgen.stop(...)
        arguments("stop", 1, ...)
        port((...))
        if not sending then return end
        sending = false
        local seconds = now - started
        calls.trials[#calls.trials + 1] = { seconds = seconds, mpps = offered_mpps() }
        if seconds > (world.fails_after_s or math.huge) and offered_mpps() > world.fails_above_mpps then owed = 1 end
    end

    -- Milliseconds.
    function pktgen.delay(...)
        arguments("delay", 1, ...)
        local seconds = (...) / 1000
        if sending then pass(seconds) end
        now = now + seconds
        -- The counters that scripts see are renewed once a second.
        if math.floor(now) > shown_at then
            shown_at = math.floor(now)
            received, owed = received - owed, 0
            shown = { sent = sent, received = received }
        end
    end

    function pktgen.clr(...)
        arguments("clr", 0, ...)
        sent, received, probes = 0, 0, 0
    end

    function pktgen.portStats(...)
        arguments("portStats", world.port_stats_arguments or 2, ...)
        local number = port((...))
        return { [number] = { opackets = number == 0 and shown.sent or 0,
            ipackets = number == (world.receive or 0) and shown.received or 0 }, n = 1 }
    end

    function pktgen.latency(...)
        local ports, what = ...
        port(ports)
        if what == "enable" or what == "disable" then
            arguments("latency", 2, ...)
            probing = what == "enable"
        elseif not world.probes then
            error("latency, wrong number of arguments", 0)
        else
            arguments("latency", 3, ...)
        end
    end

    function pktgen.pktStats(...)
        arguments("pktStats", 1, ...)
        local latency = { num_pkts = probes, num_skipped = 0, min_us = 5.0, avg_us = average, max_us = average * 3 }
        return { [port((...))] = { latency = latency }, n = 1 }
    end

    function pktgen.quit(...)
        arguments("quit", 0, ...)
        calls.quit = true
    end

    return pktgen, calls
end

-- Runs a script in such a world with these variables in its environment. Returns what it printed, its RESULT line, and
-- the stub's record. Fails if it fails.
function stub.run(script, world, environment)
    local pktgen, calls = stub.new(world)
    local printed = {}
    local sandbox = setmetatable({
        pktgen = pktgen,
        os = setmetatable({ getenv = function(name) return environment[name] end }, { __index = os }),
        print = function(...) printed[#printed + 1] = table.concat({ ... }, "\t") end,
    }, { __index = _G })
    -- Each script loads the shared module anew, into its own world.
    sandbox.require = function(name)
        assert(name == "common", name)
        return assert(loadfile(stub.scripts .. "common.lua", "t", sandbox))()
    end
    sandbox.package = { path = "" }
    assert(loadfile(stub.scripts .. script, "t", sandbox))()
    local text = table.concat(printed, "\n")
    return text, text:match("RESULT ({.*})"), calls
end

return stub
