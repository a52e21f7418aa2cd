//! A second judge, of other people's making.

use std::path::Path;
use std::process::Command;

/// Every checksum in a capture is right: tshark's verdicts, 1 for good, 3 for a UDP datagram without one (of which
/// there are `unchecked`). ICMP errors quote headers, hence several verdicts a frame.
#[track_caller]
pub fn assert_checksums(path: &Path, unchecked: usize) {
    let mut command = Command::new("tshark");
    for preference in ["ip.check_checksum", "tcp.check_checksum", "udp.check_checksum"] {
        command.args(["-o", &format!("{preference}:TRUE")]);
    }
    command.args(["-r", path.to_str().unwrap(), "-T", "fields", "-E", "separator=/s"]);
    for field in ["ip", "tcp", "udp", "icmp", "icmpv6"] {
        command.args(["-e", &format!("{field}.checksum.status")]);
    }
    let Ok(output) = command.output() else {
        eprintln!("tshark is not installed: etherparse alone judges");
        return;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let mut missing = 0;
    for (number, line) in (1..).zip(text.lines()) {
        for verdict in line.split([' ', ',']).filter(|verdict| !verdict.is_empty()) {
            match verdict {
                "1" => {}
                "3" => missing += 1,
                other => panic!("tshark: frame {number}: a checksum has status {other}: {line:?}"),
            }
        }
    }
    assert_eq!(missing, unchecked, "datagrams without a checksum:\n{text}");
}

/// The data octets of every UDP datagram in a capture, in rising order, those in pieces put together. To be called
/// where tshark [`is_installed`].
#[track_caller]
pub fn datagrams(path: &Path) -> Vec<usize> {
    let mut command = Command::new("tshark");
    command.args(["-o", "ip.defragment:TRUE", "-o", "ipv6.defragment:TRUE"]);
    command.args(["-r", path.to_str().unwrap(), "-Y", "udp", "-T", "fields", "-e", "udp.length"]);
    let output = command.output().expect("callers have seen that tshark is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let mut octets: Vec<usize> = text.lines().map(|line| line.parse::<usize>().unwrap() - 8).collect();
    octets.sort_unstable();
    octets
}

/// Whether it is installed.
pub fn is_installed() -> bool {
    let installed = Command::new("tshark").arg("--version").output().is_ok();
    if !installed {
        eprintln!("tshark is not installed: etherparse alone judges");
    }
    installed
}
