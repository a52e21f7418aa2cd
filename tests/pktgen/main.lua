-- The logic of scripts/pktgen, against a stub of pktgen with a balancer of known capacity behind it.
-- Run from the repository's top: lua5.4 tests/pktgen/main.lua

local here = arg[0]:match("^(.*/)") or "./"
package.path = here .. "?.lua;" .. package.path
local stub = require("stub")
stub.scripts = here .. "../../scripts/pktgen/"

-- 10 Gb/s carry 14.881 million frames of 64 octets a second.
local LINE = 10000 / (84 * 8)
local function world(changes)
    local made = { link_mbits = 10000, generator_mpps = 20, capacity_mpps = 20, newcomer_mpps = 20, probes = true }
    for name, value in pairs(changes or {}) do made[name] = value end
    return made
end

local function value(result, name)
    return tonumber(result:match('"name":"' .. name .. '".-"value":([%d.e+-]+)'))
end

local function near(seen, expected, tolerance)
    assert(seen and math.abs(seen - expected) <= tolerance, tostring(seen) .. " is not near " .. expected)
end

local tests = {}

tests["the search finds the balancers capacity to its resolution"] = function()
    for _, capacity in ipairs({ 0.4, 3.3, 7.77, 14.5 }) do
        local text, result = stub.run("ndr.lua", world({ capacity_mpps = capacity }), { LOAD_CONFIRM = "20" })
        local found = value(result, "ndr")
        assert(found <= capacity + 1e-6, text)
        near(found, capacity, capacity * 0.01 + 1e-6)
        assert(result:match('"limit":"loss"'), result)
    end
end

tests["a finer resolution comes closer"] = function()
    local _, result = stub.run("ndr.lua", world({ capacity_mpps = 3.3 }), { LOAD_RESOLUTION = "0.02", LOAD_CONFIRM = "0" })
    near(value(result, "ndr"), 3.3, 3.3 * 0.0002 + 1e-5)
end

tests["what the line carries is the result if nothing is lost"] = function()
    local text, result = stub.run("ndr.lua", world(), { LOAD_CONFIRM = "0" })
    near(value(result, "ndr"), LINE, 1e-3)
    assert(result:match('"limit":"line"') and result:match('"trials":1'), text)
end

tests["a generator that is too slow is said to be the limit"] = function()
    local text, result = stub.run("ndr.lua", world({ generator_mpps = 6 }), { LOAD_CONFIRM = "0" })
    near(value(result, "ndr"), 6, 1e-3)
    assert(result:match('"limit":"generator"') and text:match("pktgen does not offer more"), text)
end

tests["a link that calls itself faster than the generator is no hindrance"] = function()
    local memif = world({ link_mbits = 100000, generator_mpps = 9, capacity_mpps = 6.5 })
    local text, result, calls = stub.run("ndr.lua", memif, { LOAD_CONFIRM = "0" })
    near(value(result, "ndr"), 6.5, 0.065)
    assert(#calls.trials <= 14, text)
end

tests["a rate that fails when it is confirmed is lowered until one holds"] = function()
    local slow = world({ capacity_mpps = 5, fails_after_s = 30, fails_above_mpps = 4.8 })
    local text, result, calls = stub.run("ndr.lua", slow, {})
    local found = value(result, "ndr")
    assert(found <= 4.8 and found > 4.8 * 0.98, text)
    assert(calls.trials[#calls.trials].seconds == 60, "the last trial confirms")
end

tests["a balancer that loses packets at any rate has none"] = function()
    local text, result = stub.run("ndr.lua", world({ capacity_mpps = 0.01 }), {})
    assert(value(result, "ndr") == 0 and text:match("even the lowest rate"), text)
end

tests["a sweep shows at each rate what is lost"] = function()
    local text, result = stub.run("sweep.lua", world({ capacity_mpps = LINE / 4 }), { LOAD_RATES = "10,50" })
    local lost = {}
    for share in result:gmatch('"name":"sweep_lost".-"value":([%d.e+-]+)') do lost[#lost + 1] = tonumber(share) end
    assert(#lost == 2 and lost[1] == 0, text)
    near(lost[2], 0.5, 1e-3)
end

tests["rates may be given in millions of packets a second"] = function()
    local _, _, calls = stub.run("sweep.lua", world(), { LOAD_MPPS = "0.5,3" })
    near(calls.trials[2].mpps, 0.5, 1e-3)
    near(calls.trials[3].mpps, 3, 1e-3)
end

tests["a ramp ends where new flows are lost, and says the last rate before"] = function()
    local text, result, calls = stub.run("ramp.lua", world({ newcomer_mpps = 1.5 }), {})
    near(value(result, "ramp_without_loss"), 1.0, 1e-3)
    assert(#calls.trials == 5, text)
    assert(text:match("2000%.0.*lost"), text)
end

tests["a ramp asks for no more than the line carries"] = function()
    local _, result, calls = stub.run("ramp.lua", world({ link_mbits = 1000 }), {})
    assert(#calls.trials == 4, "1.488 million a second")
    near(value(result, "ramp_without_loss"), 1.0, 1e-3)
end

tests["latency is measured at shares of the rate that is given"] = function()
    local text, result, calls = stub.run("latency.lua", world({ capacity_mpps = 8 }), { LOAD_NDR_MPPS = "8" })
    near(calls.trials[#calls.trials - 1].mpps, 0.8, 1e-3)
    near(calls.trials[#calls.trials].mpps, 4, 1e-3)
    local averages = {}
    for us in result:gmatch('"name":"pktgen_latency_average".-"value":([%d.e+-]+)') do averages[#averages + 1] = tonumber(us) end
    near(averages[1], 10 / 0.9, 0.1)
    near(averages[2], 20, 0.1)
    assert(text:match("probes"), text)
end

tests["releases without settings for probes, or with other counters, do as well"] = function()
    local old = world({ probes = false, port_stats_arguments = 1 })
    local _, result = stub.run("latency.lua", old, {})
    assert(value(result, "pktgen_latency_max") > 0)
end

tests["packets may come back on another port"] = function()
    local two = world({ receive = 1, capacity_mpps = 2 })
    local _, result = stub.run("ndr.lua", two, { LOAD_RECEIVE = "1", LOAD_CONFIRM = "0" })
    near(value(result, "ndr"), 2, 0.02)
end

tests["all pairs of addresses and ports are met before one comes again"] = function()
    for _, flows in ipairs({ 1, 1000, 1009, 1010, 10000, 100000 }) do
        local _, _, calls = stub.run("sweep.lua", world(), { LOAD_FLOWS = tostring(flows), LOAD_RATES = "1" })
        local set = calls.ranges
        local number = function(address)
            local a, b, c, d = address:match("(%d+)%.(%d+)%.(%d+)%.(%d+)")
            return ((a * 256 + b) * 256 + c) * 256 + d
        end
        local addresses = math.tointeger(number(set["src_ip max"]) - number(set["src_ip min"]) + 1)
        local ports = set["src_port max"] - set["src_port min"] + 1
        local a, b = addresses, ports
        while b ~= 0 do a, b = b, a % b end
        assert(a == 1 and addresses * ports >= flows, flows .. ": " .. addresses .. " and " .. ports)
        assert(set["dst_ip inc"] == "0.0.0.0" and set["dst_port inc"] == 0 and set["dst_port min"] == 53)
        assert(addresses == 1 or set["src_ip inc"] == "0.0.0.1")
    end
end

tests["the figures go to a file, and pktgen ends unless it is to stay"] = function()
    local file = os.tmpname()
    local _, result, calls = stub.run("sweep.lua", world(), { LOAD_JSON = file, LOAD_RATES = "1", LOAD_STAY = "1" })
    local written = assert(io.open(file)):read("a")
    os.remove(file)
    assert(written == result .. "\n" and not calls.quit)
    local _, _, ended = stub.run("sweep.lua", world(), { LOAD_RATES = "1" })
    assert(ended.quit)
end

tests["a link that comes late is waited for, for so long"] = function()
    local late = world({ link_after_s = 5 })
    local _, result = stub.run("sweep.lua", late, { LOAD_RATES = "1" })
    assert(value(result, "sweep_lost") == 0)
    local ok, reason = pcall(stub.run, "sweep.lua", late, { LOAD_WAIT = "2" })
    assert(not ok and reason:find("no link after 2", 1, true), tostring(reason))
end

tests["a script finds what it shares by its own path"] = function()
    local real, printed = print, {}
    _G.pktgen = stub.new(world())
    print = function(text) printed[#printed + 1] = text end
    local ok, reason = pcall(dofile, stub.scripts .. "sweep.lua")
    print, _G.pktgen = real, nil
    assert(ok, reason)
    assert(printed[#printed]:match("^RESULT {"))
end

tests["a wrong option is refused by its name"] = function()
    for name, text in pairs({ LOAD_SECONDS = "soon", LOAD_RATES = "1,many", LOAD_FLOWS = "5000000" }) do
        local ok, reason = pcall(stub.run, "sweep.lua", world(), { [name] = text })
        assert(not ok and reason:find(name, 1, true), tostring(reason))
    end
    local ok, reason = pcall(stub.run, "sweep.lua", world({ link_mbits = 0 }), {})
    assert(not ok and reason:find("LOAD_LINE_MPPS", 1, true), tostring(reason))
end

local names, failed = {}, 0
for name in pairs(tests) do names[#names + 1] = name end
table.sort(names)
for _, name in ipairs(names) do
    local ok, reason = xpcall(tests[name], debug.traceback)
    print((ok and "ok      " or "FAILED  ") .. name)
    if not ok then
        failed = failed + 1
        print(reason)
    end
end
print(string.format("%s: %d passed, %d failed", _VERSION, #names - failed, failed))
os.exit(failed == 0)
