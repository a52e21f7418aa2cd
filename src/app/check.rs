//! `evenkeel check`: the errors of a configuration, or its warnings and its size.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::cli::CheckArgs;
use super::flow_rates::FlowRates;
use super::{WRONG, count, print, print_error};
#[cfg(feature = "dpdk")]
use crate::config::ConfigWarning;
use crate::config::{Config, ConfigErrors, Position};
#[cfg(feature = "dpdk")]
use crate::io::dpdk::HugePages;

/// Checks the file that `args` name and prints the result. Returns the exit status: 0 for a valid file, 2 for one with
/// errors, and with `--strict` for one with warnings.
///
/// # Errors
///
/// If the result cannot be printed.
pub(super) fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let checked = crate::config::load(&args.config).map(with_machine);
    let strict = |config: &Config| if args.strict && !config.warnings.is_empty() { WRONG } else { 0 };
    let status = checked.as_ref().map_or(WRONG, strict);
    let file = args.config.display().to_string();
    if args.json {
        print(&format!("{:#}\n", as_json(&file, &checked)))?;
        return Ok(ExitCode::from(status));
    }
    match checked {
        Err(errors) => print_error(&errors.to_string()),
        Ok(config) => {
            for warning in &config.warnings {
                print_error(&warning.to_string());
            }
            print(&summary(&file, &config))?;
        }
    }
    Ok(ExitCode::from(status))
}

/// Adds what this machine lacks to the warnings.
#[cfg(feature = "dpdk")]
fn with_machine(mut config: Config) -> Config {
    let missing = super::machine::warnings(&config).into_iter().map(ConfigWarning::of_machine);
    config.warnings.extend(missing);
    config
}

/// Without DPDK no machine runs it.
#[cfg(not(feature = "dpdk"))]
const fn with_machine(config: Config) -> Config {
    config
}

fn summary(file: &str, config: &Config) -> String {
    let backends: usize = config.services.iter().map(|service| service.backends.len()).sum();
    let warnings = match config.warnings.len() {
        0 => String::new(),
        n => format!(" ({})", count(n, "warning")),
    };
    let summary = format!(
        "{file}: valid{warnings}: {}, {}, {}, {}\n",
        count(config.ports.len(), "port"),
        count(config.appliance.workers.len(), "worker"),
        count(config.services.len(), "service"),
        count(backends, "backend"),
    );
    let summary = summary + &FlowRates::new(config).to_string();
    #[cfg(feature = "dpdk")]
    let summary = summary + &super::memory_plan::MemoryPlan::new(config, HugePages::of_machine()).to_string();
    summary
}

fn as_json(file: &str, checked: &Result<Config, ConfigErrors>) -> Value {
    let finding = |file: &str, position: Option<Position>, message: &str| {
        let (line, column) = (position.map(|at| at.line), position.map(|at| at.column));
        json!({"file": file, "line": line, "column": column, "message": message})
    };
    match checked {
        Err(errors) => {
            let errors = errors.iter().map(|error| finding(error.file(), error.position(), error.message()));
            json!({"file": file, "valid": false, "errors": errors.collect::<Vec<_>>(), "warnings": []})
        }
        Ok(config) => {
            let warnings = config.warnings.iter();
            let warnings = warnings.map(|found| finding(found.file(), found.position(), found.message()));
            json!({
                "file": file,
                "valid": true,
                "errors": [],
                "warnings": warnings.collect::<Vec<_>>(),
                "ports": config.ports.len(),
                "workers": config.appliance.workers.len(),
                "services": config.services.len(),
                "backends": config.services.iter().map(|service| service.backends.len()).sum::<usize>(),
            })
        }
    }
}
