//! What the command line asks for.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use evenkeel::io::BURST;
use evenkeel::model::TablePages;

use super::order::Order;

/// What flows are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Transport {
    Udp,
    Tcp,
}

impl Transport {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        }
    }
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// Packets of established flows, both ways.
    BothWays,
    /// The same in small bursts.
    Bursts,
    /// Whole TCP connections.
    Connections,
    /// New flows of one packet each.
    Inserts,
    /// Turns while a million flows expire.
    Expiry,
    /// Packets of live flows while backends fail and come back.
    Churn,
    /// Two workers.
    Workers,
    /// Turns after a large snapshot was published.
    Publication,
    /// What memory alone costs.
    Memory,
}

/// Measures whole workers over ports in memory.
#[derive(Parser)]
#[command(
    name = "worker",
    after_help = "example: cargo bench --bench worker -- --only both-ways --flows 1k,1M --json out.json"
)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    /// Parts to measure; may be repeated [default: all]
    #[arg(long)]
    pub(crate) only: Vec<Part>,
    /// Numbers of flows for both-ways and memory (1k is 1000); 10M takes 3 GB
    #[arg(long, value_delimiter = ',', value_parser = number, default_value = "1,1k,16k,128k,1M,4M")]
    pub(crate) flows: Vec<u32>,
    /// What flows are of, for both-ways
    #[arg(long, value_delimiter = ',', default_value = "udp,tcp")]
    pub(crate) transport: Vec<Transport>,
    /// Order of packets
    #[arg(long, default_value = "shuffled")]
    pub(crate) order: Order,
    /// Packets of each measurement at least; where there are more flows, every one has one each way
    #[arg(long, value_parser = number, default_value = "8M")]
    pub(crate) packets: u32,
    /// Measurements of each figure, whose median counts
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: u32,
    /// The core to run on; the second worker runs on the one before it [default: the last one]
    #[arg(long)]
    pub(crate) core: Option<usize>,
    /// Tables in ordinary pages, even if huge ones are reserved
    #[arg(long)]
    pub(crate) ordinary_pages: bool,
    /// A file to write all figures to
    #[arg(long)]
    pub(crate) json: Option<PathBuf>,
}

/// What is not a measurement of everything.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Runs one scenario without a look at the clock of the machine, to be watched from outside (callgrind, perf)
    One {
        /// Which one
        scenario: Scenario,
        /// Flows, or connections at a time
        #[arg(value_parser = number, default_value = "1k")]
        flows: u32,
        /// Packets, or connections
        #[arg(value_parser = number, default_value = "10M")]
        count: u32,
        /// Packets that come at a time, in the scenarios of established flows
        #[arg(long, default_value_t = BURST, value_parser = burst)]
        burst: usize,
    },
}

/// What can be watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// Datagrams from clients, of established flows
    UdpOneWay,
    /// Datagrams and answers
    UdpBothWays,
    /// Segments of established connections
    TcpBothWays,
    /// Whole connections, from SYN to the last ACK and the end of the lease
    Connections,
    /// New flows of one datagram each, and their ends
    Inserts,
    /// New connections that are refused, as no local port is left; the number of flows has no meaning
    Refusals,
}

impl Options {
    /// The options of this process; `cargo bench` adds one of its own.
    pub(crate) fn parse_arguments() -> Self {
        Self::parse_from(std::env::args().filter(|argument| argument != "--bench"))
    }

    pub(crate) fn measures(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }

    pub(crate) const fn pages(&self) -> TablePages {
        if self.ordinary_pages { TablePages::Ordinary } else { TablePages::Reserved }
    }
}

/// A number with `k` or `M` behind it or not.
fn number(text: &str) -> Result<u32, String> {
    let (digits, unit) = match text.as_bytes().last() {
        Some(b'k') => (&text[..text.len() - 1], 1_000),
        Some(b'M') => (&text[..text.len() - 1], 1_000_000),
        _ => (text, 1),
    };
    let number = digits.parse::<u32>().ok().and_then(|number| number.checked_mul(unit));
    number.filter(|number| *number > 0).ok_or_else(|| format!("{text} is not a number like 1, 16k or 4M"))
}

/// Packets of a burst.
fn burst(text: &str) -> Result<usize, String> {
    let burst = text.parse().ok().filter(|burst| (1..=BURST).contains(burst));
    burst.ok_or_else(|| format!("{text} is not a number from 1 to {BURST}"))
}

/// The shortest way to write a number of flows.
pub(crate) fn short(number: u32) -> String {
    match number {
        n if n % 1_000_000 == 0 => format!("{}M", n / 1_000_000),
        n if n % 1_000 == 0 => format!("{}k", n / 1_000),
        n => n.to_string(),
    }
}
