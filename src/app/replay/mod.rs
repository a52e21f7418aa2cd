//! Runs the worker over captures, offline: no root, no DPDK, the clock taken from the capture.
//!
//! The same worker as in `run`, on memory ports, and the same state of control. Every backend is up unless an events
//! file says otherwise, every next hop resolved, the secret of the index hash fixed: the same input gives the same
//! output to the byte.

mod control;
mod events;
mod moment;
mod network;
mod report;
mod standing;
mod worker;

use std::iter::Peekable;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use thiserror::Error;

use self::events::{Beginning, Event, Happening};
use self::worker::Replay;
use super::cli::{ReplayArgs, ReplayInput};
use crate::config::Config;
use crate::io::pcap::{CaptureError, CaptureReader, CaptureWriter, CapturedFrame};
use crate::model::{Nanos, PortId};

/// Replays what `args` name.
///
/// # Errors
/// A configuration or an events file that is wrong, a port that is not in the configuration, or a capture that cannot
/// be read or written. What was read of a capture before it broke off is replayed, and written.
pub fn run(args: &ReplayArgs) -> anyhow::Result<()> {
    let config = crate::config::load(&args.config)?;
    let mut inputs =
        args.inputs.iter().map(|input| Input::open(input, &config)).collect::<Result<Vec<_>, _>>()?;
    let first = inputs.iter_mut().filter_map(Input::first).min().unwrap_or_default();
    let events = match &args.health {
        Some(path) => events::load(path, Beginning { config: &config, path: &args.config, first })?,
        None => Vec::new(),
    };
    refuse_to_overwrite(args, &events)?;
    let mut replay = Replay::new(config, events, first)?;
    // Only now: what was there before is not lost to a mistake.
    let mut out = CaptureWriter::create(&args.out)?;
    let replayed = replay_all(&mut replay, &mut inputs, &mut out);
    out.finish()?;
    let report = replay.report(args.health.is_some());
    super::print(&if args.json { report.json()? } else { report.text() })?;
    replayed
}

/// Lets every frame enter; one that cannot be read ends its capture, and is the error at the end.
fn replay_all(replay: &mut Replay, inputs: &mut [Input], out: &mut CaptureWriter) -> anyhow::Result<()> {
    let mut broken = Ok(());
    while let Some((port, frame)) = earliest(inputs) {
        match frame {
            Ok(frame) => replay.receive(port, &frame, out)?,
            Err(error) => broken = Err(error),
        }
    }
    Ok(broken?)
}

/// A command line that cannot be meant.
#[derive(Debug, Error)]
pub enum Misuse {
    /// A capture for a port that is not configured.
    #[error("--in {name}=...: the configuration has no port {name:?}; it has {known}")]
    NoPort {
        /// The port as given.
        name: String,
        /// The ports that there are.
        known: String,
    },
    /// Writing the output would destroy what is read.
    #[error("--out {}: this is {} itself; name another file", out.display(), read.display())]
    Overwrite {
        /// The output as given.
        out: PathBuf,
        /// The file that is read.
        read: PathBuf,
    },
}

/// The output must not be one of the files that are read, under whatever name.
fn refuse_to_overwrite(args: &ReplayArgs, events: &[Event]) -> Result<(), Misuse> {
    let identity = |path: &Path| {
        let metadata = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
        Some((metadata.dev(), metadata.ino()))
    };
    let Some(out) = identity(&args.out) else { return Ok(()) };
    let loaded = events.iter().filter_map(|event| match &event.what {
        Happening::Reload { path, .. } => Some(path),
        Happening::Decision { .. } | Happening::Order { .. } | Happening::Probe { .. } => None,
    });
    let inputs = args.inputs.iter().map(|input| &input.path);
    let mut read = inputs.chain([&args.config]).chain(&args.health).chain(loaded);
    match read.find(|path| identity(path) == Some(out)) {
        Some(read) => Err(Misuse::Overwrite { out: args.out.clone(), read: read.clone() }),
        None => Ok(()),
    }
}

/// A capture and the port it enters.
struct Input {
    port: PortId,
    frames: Peekable<CaptureReader>,
}

impl Input {
    fn open(input: &ReplayInput, config: &Config) -> anyhow::Result<Self> {
        let port = match &input.port {
            None => PortId(0),
            Some(name) => config.port(name).ok_or_else(|| {
                let known: Vec<&str> = config.ports.iter().map(|port| port.name.as_str()).collect();
                Misuse::NoPort { name: name.clone(), known: known.join(", ") }
            })?,
        };
        Ok(Self { port, frames: CaptureReader::open(&input.path)?.peekable() })
    }

    /// The time of the first frame, if there is one.
    fn first(&mut self) -> Option<Nanos> {
        self.frames.peek()?.as_ref().ok().map(|frame| frame.time)
    }

    /// The time of the next frame; what is broken comes first, so that it is not forgotten.
    fn time(&mut self) -> Option<Nanos> {
        self.frames.peek().map(|frame| frame.as_ref().map_or(Nanos(0), |frame| frame.time))
    }
}

/// The next frame of all captures by time; of those of one time, the first capture's.
fn earliest(inputs: &mut [Input]) -> Option<(PortId, Result<CapturedFrame, CaptureError>)> {
    let times = inputs.iter_mut().enumerate().filter_map(|(place, input)| Some((input.time()?, place)));
    let (_, place) = times.min()?;
    let input = &mut inputs[place];
    Some((input.port, input.frames.next()?))
}
