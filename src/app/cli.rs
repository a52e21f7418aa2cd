//! What can be typed.

use std::convert::Infallible;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::LazyLock;

use clap::Args;
use clap::Parser;
use clap::Subcommand;

/// Where a balancer with the packaged configuration listens.
pub const DEFAULT_SOCKET: &str = "/run/evenkeel/control.sock";

/// The program's version, with the commit it was built from if that is known.
pub static VERSION: LazyLock<String> = LazyLock::new(|| {
    let version = env!("CARGO_PKG_VERSION");
    option_env!("EVENKEEL_COMMIT")
        .map_or_else(|| version.to_owned(), |commit| format!("{version} ({commit})"))
});

/// A layer-4 load balancer.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "evenkeel",
    version = VERSION.as_str(),
    about = "A layer-4 load balancer: a DPDK poll-mode packet processor with full NAT and consistent hashing",
    after_help = "Example:\n  evenkeel check -c /etc/evenkeel/evenkeel.toml && evenkeel run -c /etc/evenkeel/evenkeel.toml\n\n\
                  Exit status: 0 done, 1 it failed, 2 wrong use or wrong configuration."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Run the balancer in the foreground; SIGHUP reloads, SIGTERM drains and leaves
    #[command(after_help = "Example:\n  evenkeel run -c /etc/evenkeel/evenkeel.toml\n\n\
                            The log goes to standard error; EVENKEEL_LOG=debug shows more of it.")]
    Run(ConfigArgs),
    /// Validate a configuration file and print all of its errors at once, or its warnings and the memory that it will take
    #[command(after_help = "Example:\n  evenkeel check -c /etc/evenkeel/evenkeel.toml\n\n\
                            Errors and warnings go to standard error, a line each. A file with warnings is valid, and\n\
                            the exit status is 0: some warnings are about this machine. With --strict it is 2.")]
    Check(CheckArgs),
    /// Run the same pipeline over a capture, offline: no root, no DPDK
    #[command(
        after_help = "Example:\n  evenkeel replay -c evenkeel.toml --in front=clients.pcap back=servers.pcap \
                            --out sent.pcap\n  \
                            evenkeel replay -c evenkeel.toml --in clients.pcap --out sent.pcap \
                            --health events.toml\n\n\
                            events.toml, with times after the first frame:\n  \
                            [[event]]\n  at = \"1.5s\"\n  service = \"web\"\n  backend = \"10.0.9.1:80\"\n  \
                            state = \"down\"           # up, down or dead; or what one probe found:\n  \
                            # probe = \"timeout\"      # or ok, refused, unreachable, closed, malformed, status=503\n  \
                            # config = \"other.toml\"  # or, without service and backend, a reload"
    )]
    Replay(ReplayArgs),
    /// See [`Ask`].
    #[command(flatten)]
    Ask(Ask),
}

/// The commands that talk to a running balancer.
#[derive(Clone, Debug, Subcommand)]
pub enum Ask {
    /// Show the running balancer: its ports, its workers and what they counted
    #[command(after_help = "Example:\n  evenkeel status --json | jq .total.drops\n\n\
                            LOST: frames that a port's device could not receive or send. MBUFS: its packet buffers in\n\
                            use; at 100% nothing is received. --json tells them apart.")]
    Status(Listing),
    /// List the virtual services
    #[command(after_help = "Example:\n  evenkeel services\n\n\
                            TIER: the tier of backends that serves, as of a hot standby; \"-\": none;\n\
                            \"panic\": see panic_threshold.")]
    Services(Listing),
    /// List the backends with their health and load
    #[command(after_help = "Example:\n  evenkeel backends --service web\n\n\
                            STATE: up; standby (healthy, and another tier or a heavier backend serves); draining;\n\
                            maintenance; down; unknown (no probe has a result yet); removed (from the\n\
                            configuration, and flows are left).")]
    Backends {
        /// Only of this service
        #[arg(long, value_name = "NAME")]
        service: Option<String>,
        /// Where, and how it is printed.
        #[command(flatten)]
        listing: Listing,
    },
    /// Drain a backend, take it out of service, bring it back or change its weight, at once and without a reload
    #[command(after_help = "Example:\n  evenkeel backend drain web 10.0.9.1:80 --within 300\n\n\
                            What is said here lasts until it is taken back or the balancer restarts; a weight, until a\n\
                            reload changes the configured one.")]
    Backend {
        /// What to do with it.
        #[command(subcommand)]
        order: Order,
    },
    /// List flows
    #[command(after_help = "Example:\n  evenkeel flows --service web --client 192.0.2.0/24 --limit 20")]
    Flows {
        /// Only of this service
        #[arg(long, value_name = "NAME")]
        service: Option<String>,
        /// Only on this backend, as 10.0.9.1:80
        #[arg(long, value_name = "ADDRESS:PORT")]
        backend: Option<String>,
        /// Only of clients in this prefix, or of this client
        #[arg(long, value_name = "PREFIX")]
        client: Option<String>,
        /// Only those that are not on the backend that their packets name
        #[arg(long)]
        displaced: bool,
        /// At most this many
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: usize,
        /// Where, and how it is printed.
        #[command(flatten)]
        listing: Listing,
    },
    /// Show why packets were dropped
    #[command(after_help = "Example:\n  evenkeel counters --all")]
    Counters {
        /// Also reasons that never occurred
        #[arg(long)]
        all: bool,
        /// Where, and how it is printed.
        #[command(flatten)]
        listing: Listing,
    },
    /// Load the configuration file again and print what changes; a bad file changes nothing
    #[command(after_help = "Example:\n  evenkeel reload --dry-run && evenkeel reload")]
    Reload {
        /// Only print what would change
        #[arg(long)]
        dry_run: bool,
        /// Where, and how it is printed.
        #[command(flatten)]
        listing: Listing,
    },
}

/// What can be done with a backend.
#[derive(Clone, Debug, Subcommand)]
pub enum Order {
    /// Give it no new flows; once its last connection is over it is in maintenance
    #[command(after_help = "Example:\n  evenkeel backend drain web 10.0.9.1:80 --within 300\n\n\
                            `evenkeel backends` shows it as draining, with the flows left. In a service without flows\n\
                            (direct-routing, tunnel) it takes the service's `transition` at least. Of what is left after --within,\n\
                            TCP connections are reset with their next packet and UDP goes to other backends.")]
    Drain {
        /// Which.
        #[command(flatten)]
        backend: Named,
        /// In maintenance after this many seconds even if connections are left; without it: never
        #[arg(long, value_name = "SECONDS")]
        within: Option<u32>,
    },
    /// Put it in maintenance now: no new flows, and those it has end or move with their next packet
    #[command(after_help = "Example:\n  evenkeel backend disable web 10.0.9.1:80\n\n\
                            TCP connections are reset, on both sides; UDP goes to other backends. To spare them: drain.")]
    Disable {
        /// Which.
        #[command(flatten)]
        backend: Named,
    },
    /// Bring it back into service, if it is healthy; ends a drain too
    #[command(after_help = "Example:\n  evenkeel backend enable web 10.0.9.1:80")]
    Enable {
        /// Which.
        #[command(flatten)]
        backend: Named,
    },
    /// Change its share of new flows; 0: none
    #[command(after_help = "Example:\n  evenkeel backend weight web 10.0.9.1:80 50\n\n\
                            Lasts until a reload changes the configured weight, or the balancer restarts.")]
    Weight {
        /// Which.
        #[command(flatten)]
        backend: Named,
        /// Its weight, 0 to 65535
        weight: u16,
    },
}

/// A backend of a service.
#[derive(Clone, Debug, Args)]
pub struct Named {
    /// The service
    pub service: String,
    /// The backend, as 10.0.9.1:80
    pub backend: String,
    /// Where, and how it is printed.
    #[command(flatten)]
    pub listing: Listing,
}

/// A configuration file.
#[derive(Clone, Debug, Args)]
pub struct ConfigArgs {
    /// The configuration file
    #[arg(short, long, value_name = "FILE")]
    pub config: PathBuf,
}

/// `evenkeel check`.
#[derive(Clone, Debug, Args)]
pub struct CheckArgs {
    /// The configuration file
    #[arg(short, long, value_name = "FILE")]
    pub config: PathBuf,
    /// Exit status 2 for warnings too
    #[arg(long)]
    pub strict: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `evenkeel replay`.
#[derive(Clone, Debug, Args)]
pub struct ReplayArgs {
    /// The configuration file
    #[arg(short, long, value_name = "FILE")]
    pub config: PathBuf,
    /// Captures, each entering the named port (the first port if none is named); merged by time
    #[arg(long = "in", value_name = "[PORT=]FILE", num_args = 1.., required = true)]
    pub inputs: Vec<ReplayInput>,
    /// Where the frames go that would have been sent
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// What happens to backends and to the configuration on the way; without it every backend is up
    #[arg(long, value_name = "EVENTS.toml")]
    pub health: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// A capture for `evenkeel replay`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayInput {
    /// The port it enters; `None`: the first.
    pub port: Option<String>,
    /// The file.
    pub path: PathBuf,
}

/// How to reach the balancer, and how the answer is printed.
#[derive(Clone, Debug, Args)]
pub struct Listing {
    /// The balancer's control socket
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    pub socket: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

impl FromStr for ReplayInput {
    type Err = Infallible;

    /// A name in front of the first `=` is a port, unless it could be a directory.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text.split_once('=') {
            Some((port, path)) if !port.is_empty() && !port.contains('/') => {
                Self { port: Some(port.to_owned()), path: path.into() }
            }
            _ => Self { port: None, path: text.into() },
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_command_shows_an_example() {
        let mut cli = Cli::command();
        cli.build();
        cli.clone().debug_assert();
        let mut commands: Vec<_> =
            cli.get_subcommands().filter(|command| command.get_name() != "help").collect();
        while let Some(command) = commands.pop() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.starts_with("Example:\n  evenkeel "), "{}: {help}", command.get_name());
            commands.extend(command.get_subcommands().filter(|command| command.get_name() != "help"));
        }
    }

    #[test]
    fn captures_may_name_their_port_and_come_in_any_number() {
        let line = "evenkeel replay -c c.toml --in front=a.pcap ./x=y/b.pcap --in c.pcap --out d.pcap --json";
        let Command::Replay(args) = Cli::parse_from(line.split(' ')).command else { panic!("replay") };
        let input =
            |port: Option<&str>, path: &str| ReplayInput { port: port.map(str::to_owned), path: path.into() };
        let expected = [input(Some("front"), "a.pcap"), input(None, "./x=y/b.pcap"), input(None, "c.pcap")];
        assert_eq!(args.inputs, expected);
        assert!(args.json);
    }
}
