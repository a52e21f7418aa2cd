//! `evenkeel check` of what is right.

use crate::bench::Bench;

#[test]
fn a_valid_configuration_is_told_with_the_memory_that_it_takes() {
    let bench = Bench::new();
    let done = bench.evenkeel(&["check", "-c", "c.toml"]);
    assert_eq!(done.status, 0, "{}", done.stderr);
    let mut lines = done.stdout.lines();
    assert_eq!(lines.next(), Some("c.toml: valid: 2 ports, 1 worker, 4 services, 12 backends"));
    assert!(done.stdout.contains("new flows that local ports suffice for, by service:\n"), "{}", done.stdout);
    if cfg!(feature = "dpdk") {
        for part in
            ["packet buffers of port \"back\" ", "flow tables, each worker ", "in all, with 1 worker "]
        {
            assert!(done.stdout.contains(part), "{part:?} is missing:\n{}", done.stdout);
        }
    }
}
