-- The highest rate without loss (non-drop rate), by RFC 2544, section 26.1, without tolerance.
--
-- LOAD_SECONDS: of a trial of the search (10). LOAD_CONFIRM: of the trial that confirms its result (60, as section 24 of
-- the RFC wants; 0: none). LOAD_RESOLUTION: to how many per cent of itself the rate is found (1). LOAD_LOW, LOAD_HIGH:
-- between which rates, in per cent of the line's (0.1, 100).

package.path = (debug.getinfo(1, "S").source:match("^@(.*/)") or "./") .. "?.lua;scripts/pktgen/?.lua;" .. package.path
local common = require("common")

local options = common.options({ confirm = 60, resolution = 1, low = 0.1, high = 100 })
local FORMS = { "%6d", "%7.2f", "%12.3f", "%14d", "%14d", "%12d", "%8s" }
local count = 0

local function run(rate, seconds)
    local trial = common.trial(options, rate, seconds)
    count = count + 1
    common.line(FORMS, { count, trial.rate, trial.offered_mpps, trial.sent, trial.received, trial.lost,
        trial.lost > 0 and "lost" or trial.short and "short" or "good" })
    return trial
end

common.traffic(options)
common.warm_up(options)
common.head(FORMS, { "trial", "rate %", "offered Mpps", "sent", "back", "lost", "" })
local best, limit = common.search(run, options.low, options.high, options.resolution / 100)
local searched = best
-- What holds for a short trial may not hold for a long one: then a step lower.
while best and options.confirm > 0 do
    local trial = run(best.rate, options.confirm)
    if trial.lost == 0 then
        best = trial
        break
    end
    limit = "loss"
    local lower = best.rate * (1 - options.resolution / 100)
    best = lower >= options.low and { rate = lower } or nil
end

local mpps = best and best.offered_mpps or 0
local words = {
    loss = "above it packets are lost",
    line = "the highest rate that was asked for; nothing was lost",
    generator = "pktgen does not offer more, or the port does not take more; nothing was lost",
}
print(string.format("\nwithout loss: %.3f Mpps, %.2f %% of the line's rate: %s", mpps, best and best.rate or 0,
    best and words[limit] or "even the lowest rate loses packets"))
common.finish(options, {
    common.figure("ndr", "Mpps", mpps, {
        rate_percent = best and best.rate or 0,
        searched_percent = searched and searched.rate or 0,
        limit = limit,
        trials = count,
        resolution_percent = options.resolution,
        seconds = options.seconds,
        confirm_seconds = options.confirm,
        size = options.size,
        flows = options.flows,
    }),
})
