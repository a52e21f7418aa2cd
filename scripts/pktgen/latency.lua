-- Latency under load, as pktgen's probes see it: a stamped packet now and then between those that make the load.
--
-- LOAD_RATES: loads, in per cent (10,50). LOAD_NDR_MPPS: of which rate, as ndr.lua found it; left out: of the line's.
-- LOAD_PROBE_US: microseconds between two probes (1000). Probes go to port 1028 of the VIP, whatever else is set:
-- conf/examples/load.toml has a service there.

package.path = (debug.getinfo(1, "S").source:match("^@(.*/)") or "./") .. "?.lua;scripts/pktgen/?.lua;" .. package.path
local common = require("common")

local options = common.options({ rates = { 10, 50 }, ndr_mpps = 0, probe_us = 1000 })
local FORMS = { "%7.2f", "%12.3f", "%10d", "%10d", "%10.1f", "%10.1f", "%10.1f", "%12d" }

-- What the probes saw. The one figure that older releases have is the average.
local function probes()
    local seen = pktgen.pktStats(tostring(options.receive))[options.receive]
    local latency = seen.latency or {}
    return {
        count = latency.num_pkts or 0,
        skipped = latency.num_skipped or 0,
        min = latency.min_us or seen.min_avg_latency or 0,
        average = latency.avg_us or seen.avg_latency or 0,
        max = latency.max_us or seen.max_avg_latency or 0,
    }
end

local function both(call)
    call(tostring(options.send))
    if options.receive ~= options.send then call(tostring(options.receive)) end
end

common.traffic(options)
common.warm_up(options)
-- Not every release has these two; the defaults are a probe every 10 ms, from one port.
pcall(pktgen.latency, tostring(options.send), "rate", options.probe_us)
pcall(pktgen.latency, tostring(options.send), "entropy", 16)
both(function(port) pktgen.latency(port, "enable") end)
common.head(FORMS, { "load %", "offered Mpps", "probes", "skipped", "min us", "avg us", "max us", "lost" })
local figures = {}
local line = common.line_mpps(options)
local full = options.ndr_mpps > 0 and options.ndr_mpps or line
for _, share in ipairs(options.rates) do
    -- Clears what the probes saw before.
    pktgen.clr()
    local trial = common.trial(options, share * full / line)
    local seen = probes()
    common.line(FORMS, { share, trial.offered_mpps, seen.count, seen.skipped, seen.min, seen.average, seen.max, trial.lost })
    local parameters = { load = share / 100, rate_mpps = trial.offered_mpps, probes = seen.count, lost = trial.lost,
        size = options.size, flows = options.flows, seconds = trial.seconds }
    for _, name in ipairs({ "min", "average", "max" }) do
        figures[#figures + 1] = common.figure("pktgen_latency_" .. name, "us", seen[name], parameters)
    end
end
both(function(port) pktgen.latency(port, "disable") end)
common.finish(options, figures)
