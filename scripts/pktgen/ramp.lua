-- Connection ramp: how many new flows a second evenkeel begins without losing one.
--
-- LOAD_RATES: new flows a second, in thousands (100,200,500,1000,2000,3000,5000). LOAD_PORT: of a service for which every
-- packet is a new flow, which conf/examples/load.toml has on port 54 (`one_packet`): pktgen makes the packets of a range
-- once, when it starts, some 16,000 for each of its queues, and repeats them.

package.path = (debug.getinfo(1, "S").source:match("^@(.*/)") or "./") .. "?.lua;scripts/pktgen/?.lua;" .. package.path
local common = require("common")

local options = common.options({ rates = { 100, 200, 500, 1000, 2000, 3000, 5000 }, port = 54, flows = 16384 })
local FORMS = { "%12.1f", "%14.1f", "%14d", "%14d", "%12d", "%8s" }

common.traffic(options)
common.head(FORMS, { "asked k/s", "offered k/s", "sent", "back", "lost", "" })
local figures, best = {}, 0
for _, thousands in ipairs(options.rates) do
    local line = common.line_mpps(options)
    -- What the line does not carry cannot be asked for.
    if thousands / 1000 > line then break end
    local trial = common.trial(options, 100 * thousands / 1000 / line)
    local word = trial.lost > 0 and "lost" or trial.short and "short" or "good"
    common.line(FORMS, { thousands, trial.offered_mpps * 1000, trial.sent, trial.received, trial.lost, word })
    local parameters = { asked = thousands * 1000, sent = trial.sent, seconds = trial.seconds }
    figures[#figures + 1] = common.figure("ramp_lost", "flows", trial.lost, parameters)
    if trial.lost == 0 then best = math.max(best, trial.offered_mpps) end
    -- Higher rates say nothing new.
    if word ~= "good" then break end
end
print(string.format("\nwithout loss: %.3f million new flows a second", best))
figures[#figures + 1] = common.figure("ramp_without_loss", "million/s", best, { seconds = options.seconds })
common.finish(options, figures)
