//! Whole workers over ports that cost next to nothing: what speed is made of, piece by piece, on one core (or two).
//!
//! `cargo bench --bench worker -- [--only PART] [--flows 1k,1M] [--json FILE]` prints figures, each with its spread and
//! the target it is held to; `--help` has the rest. `cargo bench --bench worker -- one SCENARIO FLOWS COUNT` runs one
//! scenario to be watched from outside (`scripts/instructions`).
//!
//! Nothing but full NAT is measured: the real worker with counters, time-outs, TCP states and snapshots. Every packet of
//! the set-up is looked at when it leaves (addresses, ports, both checksums), the number of flows is, and that what comes
//! in goes out. `port` is what the port costs alone, by the same traffic with nobody behind it, measured in turn with
//! `whole`; `above_port` is the difference. N is a number of flows (1k, 4M), T `udp` or `tcp`:
//!
//! | figure | is |
//! |---|---|
//! | `both_ways.T.N.whole`, `.port`, `.above_port` | ns per packet in the middle of N flows, both ways |
//! | `both_ways.T.N.growth` | `above_port` over that of 1k flows |
//! | `both_ways.T.N.longest_turn_filling` | us, while the N flows were made |
//! | `bursts.B.whole`, `.port`, `.above_port`, `.over_full` | the same with B packets at a time; % over 32 |
//! | `connections.rate`, `.rate_above_port`, `.whole`, `.port` | whole TCP connections, M/s; ns each |
//! | `inserts.K.rate`, `.rate_above_port`, `.whole`, `.port` | new UDP flows kept for K (100ms, 1000ms), as many ending, M/s; ns each |
//! | `expiry.turn.p50`, `.p99`, `.p9999`, `.longest` | us, turns while a million flows expire |
//! | `expiry.turn_without.` the same | us, turns with the same traffic before |
//! | `churn.elsewhere` | packets of live connections that reached another backend: 0 |
//! | `churn.whole`, `.whole_without`, `.over_without` | ns per packet while backends fail and come back; % over |
//! | `workers.second_over_first` | rate of both at the same time over that of the first alone: 2 if neither takes from the other |
//! | `workers.twin_second_over_first` | the same of work in registers alone: what the two cores give |
//! | `workers.second_share`, `.first_alone`, `.second` | the second's rate over that of the first alone; rates in Mpps |
//! | `publication.turn_after.p50` ..., `.turn_following.`, `.turn_without.` | us, turns after a publication |
//! | `publication.effect_p9999` | us, p99.99 of `turn_after` over that of `turn_without` |
//! | `publication.copy_and_publish` | ms, to copy a snapshot with one change in it and publish that |
//! | `memory.N.chase` | ns a read of memory alone: of the lines of N flows, at random, each after the one before |

mod balancer;
mod both_ways;
mod churn;
mod connections;
mod costs;
mod durations;
mod expiry;
mod figures;
mod flows;
mod inserts;
mod machine;
mod memory;
mod one;
mod options;
mod order;
mod packet;
mod port;
mod publication;
mod refusals;
mod replay;
mod workers;

use std::time::Instant;

use anyhow::Context;
use clap::ValueEnum;
use figures::Figures;
use machine::{Machine, Taken};
use options::{Command, Options, Part};

fn main() -> anyhow::Result<()> {
    let options = Options::parse_arguments();
    if let Some(Command::One { scenario, flows, count, burst }) = options.command {
        one::run(scenario, (flows, count), burst, options.pages());
        return Ok(());
    }
    let machine = Machine::new(options.core);
    let core = machine.pin(0).context("no core to run on; choose one with --core")?;
    let (began, before) = (Instant::now(), Taken::now());
    println!("on core {core}");
    let mut figures = Figures::default();
    for part in Part::value_variants().iter().filter(|part| options.measures(**part)) {
        measure(*part, &options, &machine, &mut figures);
    }
    let taken = Taken::now().since(before);
    let Taken { stolen_ms, waited_ms } = taken;
    let seconds = began.elapsed().as_secs();
    println!(
        "{seconds} s, of which others had the core for {waited_ms} ms; the host took {stolen_ms} ms of all cores"
    );
    match &options.json {
        Some(path) => figures.write(path, &machine, taken),
        None => Ok(()),
    }
}

fn measure(part: Part, options: &Options, machine: &Machine, figures: &mut Figures) {
    match part {
        Part::BothWays => both_ways::measure(options, figures),
        Part::Bursts => both_ways::measure_bursts(options, figures),
        Part::Connections => connections::measure(options, figures),
        Part::Inserts => inserts::measure(options, figures),
        Part::Expiry => expiry::measure(options, figures),
        Part::Churn => churn::measure(options, figures),
        Part::Workers => workers::measure(options, machine, figures),
        Part::Publication => publication::measure(options, figures),
        Part::Memory => memory::measure(options, figures),
    }
}
