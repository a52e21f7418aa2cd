//! The time that packets spend in the balancer, under load: evenkeel on one core, a generator on another, shared memory
//! (`net_memif`) between them.
//!
//! `cargo bench --bench latency -- --json FILE`, or `scripts/pktgen/latency`, which also reserves huge pages.
//!
//! The generator sends UDP packets of many flows at a constant rate, each stamped with the time at which it was to
//! leave, whether or not it left in time; evenkeel does full NAT on them and sends them back over the same port. What is
//! measured is therefore all that a client would wait for, and nothing is left out when balancer or generator stall
//! (G. Tene's "coordinated omission"). How late the generator itself was is printed beside it.

mod rig;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use rig::plan::{Idle, Plan};

#[derive(Parser)]
#[command(about = "Latency of evenkeel under load, over shared memory")]
struct Arguments {
    /// Packets a second that count as full load; left out: the highest rate without loss is looked for.
    #[arg(long)]
    rate: Option<f64>,
    /// Shares of the full load at which latency is measured.
    #[arg(long, value_delimiter = ',', default_value = "0.1,0.5")]
    loads: Vec<f64>,
    /// Length of a measurement.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Flows that the packets belong to.
    #[arg(long, default_value_t = 1000)]
    flows: u32,
    /// What evenkeel's worker does when nothing arrives.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "poll,adaptive")]
    idle: Vec<Idle>,
    /// The core of the generator and of evenkeel's control thread.
    #[arg(long, default_value_t = 0)]
    generator_core: usize,
    /// The core of evenkeel's worker.
    #[arg(long, default_value_t = 1)]
    worker_core: usize,
    /// Writes the figures to this file, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// What cargo says to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let plan = Plan {
        rate: arguments.rate,
        loads: arguments.loads,
        duration: Duration::from_secs_f64(arguments.seconds),
        flows: arguments.flows,
        idle: arguments.idle,
        generator_core: arguments.generator_core,
        worker_core: arguments.worker_core,
    };
    let done = rig::measure(&plan).and_then(|measured| {
        print!("{}", rig::report::table(&plan, &measured));
        let Some(file) = arguments.json else { return Ok(()) };
        let text = serde_json::to_string_pretty(&rig::report::document(&plan, &measured))?;
        Ok(std::fs::write(file, text + "\n")?)
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("latency: {error:#}");
            ExitCode::FAILURE
        }
    }
}
