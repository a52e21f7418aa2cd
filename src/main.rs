//! See the library, and the README.

#![warn(clippy::print_stdout, clippy::print_stderr)]

fn main() -> std::process::ExitCode {
    evenkeel::app::main()
}
