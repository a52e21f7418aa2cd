-- Rate sweep: what evenkeel forwards and loses at each of some rates.
--
-- LOAD_RATES: in per cent of the line's rate (1,5,10,25,50,75,100). LOAD_MPPS: in their place, millions of packets a second.

package.path = (debug.getinfo(1, "S").source:match("^@(.*/)") or "./") .. "?.lua;scripts/pktgen/?.lua;" .. package.path
local common = require("common")

local options = common.options({ rates = { 1, 5, 10, 25, 50, 75, 100 }, mpps = {} })
local FORMS = { "%7.2f", "%12.3f", "%12.3f", "%12.3f", "%14d", "%14d", "%12d", "%9.4f" }

common.traffic(options)
common.warm_up(options)
common.head(FORMS, { "rate %", "asked Mpps", "offered Mpps", "back Mpps", "sent", "back", "lost", "lost %" })
local figures = {}
local rates = options.rates
if #options.mpps > 0 then
    rates = {}
    for _, mpps in ipairs(options.mpps) do rates[#rates + 1] = 100 * mpps / common.line_mpps(options) end
end
for _, rate in ipairs(rates) do
    local trial = common.trial(options, rate)
    local share = trial.sent > 0 and trial.lost / trial.sent or 0
    common.line(FORMS, { trial.rate, trial.asked_mpps, trial.offered_mpps, trial.received_mpps, trial.sent, trial.received,
        trial.lost, 100 * share })
    local parameters = { rate_percent = trial.rate, offered_mpps = trial.offered_mpps, size = options.size,
        flows = options.flows, seconds = trial.seconds }
    figures[#figures + 1] = common.figure("sweep_forwarded", "Mpps", trial.received_mpps, parameters)
    figures[#figures + 1] = common.figure("sweep_lost", "share", share, parameters)
end
common.finish(options, figures)
