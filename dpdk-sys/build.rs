//! Binds the DPDK functions that evenkeel calls, and compiles C functions for those that are static inline.
//!
//! DPDK 22.11 or later, found by pkg-config. It is linked dynamically and on purpose: EAL loads the drivers (and the
//! memory pool's handler) from the plugin directory that its own shared library names, so that a port may be anything
//! that the installed DPDK drives without a word here.

use std::env;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

/// The oldest release that has everything below; Debian 12's.
const OLDEST: &str = "22.11";

const FUNCTIONS: &[&str] = &[
    // Start, threads, devices.
    "rte_eal_init",
    "rte_thread_register",
    "rte_thread_unregister",
    "rte_dev_probe",
    "rte_version",
    "evenkeel_errno",
    "evenkeel_log_to",
    "evenkeel_packet_socket_interface",
    "evenkeel_packet_socket_drops",
    "rte_log_cur_msg_loglevel",
    // Ports.
    "rte_eth_dev_get_port_by_name",
    "rte_eth_dev_owner_new",
    "rte_eth_dev_owner_set",
    "rte_eth_dev_info_get",
    "rte_eth_dev_configure",
    "rte_eth_dev_adjust_nb_rx_tx_desc",
    "rte_eth_dev_socket_id",
    "rte_eth_dev_set_mtu",
    "rte_eth_rx_queue_setup",
    "rte_eth_tx_queue_setup",
    "rte_eth_macaddr_get",
    "rte_eth_dev_default_mac_addr_set",
    "rte_eth_promiscuous_enable",
    "rte_eth_allmulticast_enable",
    "rte_eth_dev_start",
    "rte_eth_dev_stop",
    "rte_eth_dev_close",
    "rte_eth_stats_get",
    "evenkeel_link_get",
    // Frames.
    "rte_eth_rx_burst",
    "rte_eth_tx_burst",
    "rte_mempool_create_empty",
    "rte_mempool_set_ops_byname",
    "rte_mempool_populate_default",
    "rte_mempool_obj_iter",
    "rte_mempool_free",
    "rte_mbuf_best_mempool_ops",
    "rte_pktmbuf_pool_init",
    "rte_pktmbuf_init",
    "rte_pktmbuf_alloc",
    "rte_pktmbuf_free",
    "rte_mempool_in_use_count",
];

const TYPES: &[&str] = &[
    "rte_eth_conf",
    "rte_eth_dev_info",
    "rte_eth_stats",
    "rte_pktmbuf_pool_private",
    "evenkeel_mbuf_offset",
    "evenkeel_limit",
];

const CONSTANTS: &[&str] = &[
    "RTE_LOG_ERR",
    "RTE_LOG_WARNING",
    "RTE_LOG_INFO",
    "EVENKEEL_RSS_FLOWS",
    "RTE_ETH_SPEED_NUM_NONE",
    "RTE_ETH_SPEED_NUM_UNKNOWN",
    "RTE_MEMPOOL_F_NO_IOVA_CONTIG",
];

/// The libraries that define the functions above. Not all of pkg-config's list: the rest would be loaded for nothing.
const LIBRARIES: &[&str] = &["rte_eal", "rte_ethdev", "rte_mbuf", "rte_mempool", "rte_ring"];

fn main() {
    println!("cargo::rerun-if-changed=wrapper.h");
    println!("cargo::rerun-if-changed=build.rs");

    let link_paths = find_dpdk();
    let flags = compiler_flags();
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let wrappers = out.join("wrappers.c");

    bind(&flags, &wrappers).write_to_file(out.join("bindings.rs")).expect("OUT_DIR is writable");
    compile(&flags, &wrappers);

    for path in link_paths {
        println!("cargo::rustc-link-search=native={}", path.display());
    }
    for library in LIBRARIES {
        println!("cargo::rustc-link-lib=dylib={library}");
    }
}

/// Checks that DPDK is there and new enough; returns where its libraries are.
fn find_dpdk() -> Vec<PathBuf> {
    match pkg_config::Config::new().atleast_version(OLDEST).cargo_metadata(false).probe("libdpdk") {
        Ok(library) => library.link_paths,
        Err(error) => panic!(
            "DPDK {OLDEST} or later was not found by pkg-config; install it, on Debian and Ubuntu with\n\n    \
             apt-get install libdpdk-dev clang libclang-dev pkg-config\n\nor, for DPDK of your own, set \
             PKG_CONFIG_PATH to the directory that holds libdpdk.pc, or build without it: cargo build \
             --no-default-features\n\n{error}"
        ),
    }
}

/// DPDK's compiler flags as they are, among them `-include` and `-march`, which the pkg-config crate leaves out.
fn compiler_flags() -> Vec<String> {
    let program = env::var("PKG_CONFIG").unwrap_or_else(|_| "pkg-config".to_owned());
    let output = Command::new(program)
        .args(["--cflags", "libdpdk"])
        .output()
        .expect("pkg-config was just run to find DPDK");
    assert!(
        output.status.success(),
        "pkg-config --cflags libdpdk: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let flags = String::from_utf8(output.stdout).expect("compiler flags are UTF-8");
    flags.split_whitespace().map(str::to_owned).collect()
}

fn bind(flags: &[String], wrappers: &Path) -> bindgen::Bindings {
    let mut builder = bindgen::Builder::default()
        .header("wrapper.h")
        .clang_args(flags)
        .wrap_static_fns(true)
        .wrap_static_fns_path(wrappers)
        .wrap_static_fns_suffix("_call")
        // Opaque, in lib.rs: what is inside is not for Rust (see wrapper.h).
        .blocklist_type("rte_mbuf(__.*)?")
        .blocklist_type("rte_mempool(__.*)?")
        .prepend_enum_name(false)
        .derive_default(true)
        .layout_tests(false)
        .generate_comments(false);
    for function in FUNCTIONS {
        builder = builder.allowlist_function(function);
    }
    for name in TYPES {
        builder = builder.allowlist_type(name);
    }
    for constant in CONSTANTS {
        builder = builder.allowlist_var(constant);
    }
    builder.generate().unwrap_or_else(|error| {
        panic!("bindings to DPDK: {error}; is libclang installed (apt-get install clang libclang-dev)?")
    })
}

fn compile(flags: &[String], wrappers: &Path) {
    let mut build = cc::Build::new();
    // `-include` takes the next flag, which cc keeps in order.
    for flag in flags {
        build.flag(flag);
    }
    build.include(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR"));
    // DPDK's headers are not written for -Wall -Wextra.
    build.warnings(false).opt_level(3).file(wrappers).compile("dpdk_calls");
}
