//! See the library, and the README.

fn main() -> std::process::ExitCode {
    evenkeel::app::main()
}
