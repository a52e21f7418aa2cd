//! What README.md says is true.

use std::fs;
use std::process::Command;

use crate::lab::print_of;

#[test]
fn the_readmes_configuration_is_valid() {
    let blocks: Vec<&str> = README.split("```toml\n").skip(1).collect();
    assert!(!blocks.is_empty());
    for block in blocks {
        let text = block.split("```").next().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("readme.toml");
        fs::write(&file, text).unwrap();
        let check = Command::new(env!("CARGO_BIN_EXE_evenkeel")).arg("check").arg("-c").arg(&file).output();
        let done = print_of(check.unwrap());
        assert!(done.success, "{}{}", done.out, done.err);
    }
}

#[test]
fn the_readme_has_every_command_of_the_program_and_no_other() {
    let help = Command::new(env!("CARGO_BIN_EXE_evenkeel")).arg("--help").output();
    let help = print_of(help.unwrap()).out;
    let commands = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let mut commands: Vec<&str> = commands
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    commands.sort_unstable();
    let mut written: Vec<&str> = README
        .lines()
        .filter(|line| line.starts_with("| `evenkeel "))
        .flat_map(|line| line.split('|').nth(1).unwrap().split('`').skip(1).step_by(2))
        .map(|command| command.strip_prefix("evenkeel ").unwrap_or(command).split(' ').next().unwrap())
        .collect();
    written.sort_unstable();
    assert_eq!(written, commands);
}

const README: &str = include_str!("../../README.md");
