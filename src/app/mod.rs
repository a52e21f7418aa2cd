//! Command line and launch: the only place where everything meets.
//!
//! Exit status: 0 done, 1 it failed, 2 wrong use or wrong configuration.

pub mod cli;
pub mod client;
pub mod client_text;
#[cfg(feature = "dpdk")]
mod kernel_network;
#[cfg(feature = "dpdk")]
pub mod launch;
mod logging;
#[cfg(feature = "dpdk")]
mod memory_plan;
pub mod replay;
pub mod table;
#[cfg(feature = "dpdk")]
mod worker_thread;

use std::io;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

use self::cli::Cli;
use self::cli::Command;
use crate::config::ConfigErrors;
use crate::control::admin::protocol::FaultKind;
#[cfg(feature = "dpdk")]
use crate::io::dpdk::HugePages;

/// The program: reads the command line and does what it says.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    logging::start();
    let done = match &cli.command {
        #[cfg(feature = "dpdk")]
        Command::Run(args) => launch::run(&args.config),
        #[cfg(not(feature = "dpdk"))]
        Command::Run(_) => {
            Err(anyhow::anyhow!("this evenkeel was built without ports; build it with the feature dpdk"))
        }
        Command::Check(args) => check(&args.config),
        Command::Replay(args) => replay::run(args),
        Command::Ask(question) => client::run(question),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&error),
    }
}

fn check(path: &Path) -> anyhow::Result<()> {
    let config = crate::config::load(path)?;
    let backends: usize = config.services.iter().map(|service| service.backends.len()).sum();
    let summary = format!(
        "{}: valid: {}, {}, {}, {}\n",
        path.display(),
        count(config.ports.len(), "port"),
        count(config.appliance.workers.len(), "worker"),
        count(config.services.len(), "service"),
        count(backends, "backend"),
    );
    #[cfg(feature = "dpdk")]
    let summary = summary + &memory_plan::MemoryPlan::new(&config, HugePages::of_machine()).to_string();
    print(&summary)
}

fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

/// Writes to standard output; a reader that has seen enough (`| head`) is no failure.
fn print(text: &str) -> anyhow::Result<()> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Says on standard error what went wrong, a configuration's errors a line each.
fn complain(error: &anyhow::Error) -> ExitCode {
    if let Some(errors) = error.downcast_ref::<ConfigErrors>() {
        eprintln!("{errors}");
        return ExitCode::from(WRONG);
    }
    eprintln!("evenkeel: {error:#}");
    if error.is::<replay::Misuse>() {
        return ExitCode::from(WRONG);
    }
    match error.downcast_ref::<client::ClientError>() {
        Some(client::ClientError::Fault(fault))
            if matches!(fault.kind, FaultKind::Malformed | FaultKind::NotFound | FaultKind::Refused) =>
        {
            ExitCode::from(WRONG)
        }
        _ => ExitCode::FAILURE,
    }
}

/// Wrong use or wrong configuration.
const WRONG: u8 = 2;
