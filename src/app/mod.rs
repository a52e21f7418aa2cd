//! Command line and launch: the only place where everything meets.
//!
//! Exit status: 0 done, 1 it failed, 2 wrong use or wrong configuration.

#[cfg(feature = "dpdk")]
mod bounded_log;
mod check;
pub mod cli;
pub mod client;
pub mod client_text;
mod flow_rates;
#[cfg(feature = "dpdk")]
mod kernel_network;
#[cfg(feature = "dpdk")]
mod launch;
#[cfg(feature = "dpdk")]
mod log_queue;
mod logging;
#[cfg(feature = "dpdk")]
mod machine;
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
#[cfg(feature = "dpdk")]
use self::launch::Process;
use crate::config::ConfigErrors;
use crate::control::admin::protocol::FaultKind;
#[cfg(feature = "dpdk")]
use crate::control::signals::ControlRuntime;

/// The program: reads the command line and does what it says.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    if !matches!(cli.command, Command::Run(_)) {
        logging::start();
    }
    let done = match &cli.command {
        Command::Run(args) => return run(&args.config),
        Command::Check(args) => check::run(args),
        Command::Replay(args) => replay::run(args).map(|()| ExitCode::SUCCESS),
        Command::Ask(question) => client::run(question).map(|()| ExitCode::SUCCESS),
    };
    done.unwrap_or_else(|error| Complaint::of(&error).print())
}

/// `evenkeel run`: neither a signal nor the reader of the log may end it or hold it up.
#[cfg(feature = "dpdk")]
fn run(path: &Path) -> ExitCode {
    let parts = ControlRuntime::install().and_then(|runtime| Ok((runtime, bounded_log::start()?)));
    let (runtime, log) = match parts {
        Ok(parts) => parts,
        Err(error) => {
            return Complaint::of(&anyhow::Error::new(error).context("the process cannot start")).print();
        }
    };
    let process = Process { runtime, log: log.clone() };
    let status = match launch::run(path, process) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let complaint = Complaint::of(&error);
            log.say(&complaint.text);
            complaint.status
        }
    };
    log.flush();
    status
}

#[cfg(not(feature = "dpdk"))]
fn run(_: &Path) -> ExitCode {
    Complaint::of(&anyhow::anyhow!("this evenkeel was built without ports; build it with the feature dpdk"))
        .print()
}

fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

/// Writes to standard output; a reader that has seen enough (`| head`) is no failure.
fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(anyhow::Error::new(error).context("standard output"))
        }
        _ => Ok(()),
    }
}

/// Writes a line to standard error, the last place for it: nothing is left to do if that fails.
fn print_error(line: &str) {
    let _unwritable = writeln!(io::stderr(), "{line}");
}

/// A failure as the command line shows it: text for standard error, and the exit status.
struct Complaint {
    text: String,
    status: ExitCode,
}

impl Complaint {
    /// A configuration's errors are a line each.
    fn of(error: &anyhow::Error) -> Self {
        if let Some(errors) = error.downcast_ref::<ConfigErrors>() {
            return Self { text: errors.to_string(), status: ExitCode::from(WRONG) };
        }
        let wrong = error.is::<replay::Misuse>()
            || matches!(
                error.downcast_ref::<client::ClientError>(),
                Some(client::ClientError::Fault(fault))
                    if matches!(fault.kind, FaultKind::Malformed | FaultKind::NotFound | FaultKind::Refused)
            );
        let status = if wrong { ExitCode::from(WRONG) } else { ExitCode::FAILURE };
        Self { text: format!("evenkeel: {}", described(error)), status }
    }

    /// Writes the text to standard error; returns the exit status.
    fn print(self) -> ExitCode {
        print_error(&self.text);
        self.status
    }
}

/// An error with its causes. Some errors quote their cause: a cause is left out if the text before it contains it.
fn described(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

/// Wrong use or wrong configuration.
const WRONG: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::admin::protocol::Fault;

    #[test]
    fn cause_that_its_error_quotes_is_printed_once() {
        let fault = Fault { kind: FaultKind::NotFound, message: "no service \"nope\"".to_owned() };
        let error = anyhow::Error::new(client::ClientError::Fault(fault));
        assert_eq!(described(&error), "no service \"nope\"");
        let error = anyhow::Error::new(io::Error::from_raw_os_error(28)).context("standard output");
        assert_eq!(described(&error), "standard output: No space left on device (os error 28)");
    }
}
