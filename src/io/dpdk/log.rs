//! DPDK's own log, as lines of ours: by itself DPDK writes to standard error and syslog, and waits for their readers.

use std::ffi::{c_char, c_void};
use std::slice;

/// Has DPDK write its messages by `tracing`, as `dpdk text="..."` with DPDK's level. Called before and after EAL's
/// start, as some releases choose a stream during it.
pub(super) fn forward() {
    // SAFETY: `write` lives for ever, and keeps the contract of fopencookie(3).
    let result = unsafe { dpdk_sys::evenkeel_log_to(Some(write)) };
    if result != 0 {
        tracing::warn!("dpdk_log_not_forwarded");
    }
}

/// Called by the C library with what DPDK has printed; DPDK flushes after each message, on the message's thread.
unsafe extern "C" fn write(_cookie: *mut c_void, octets: *const c_char, count: usize) -> isize {
    // SAFETY: the C library passes `count` initialised octets, which stay as they are during the call.
    let octets = unsafe { slice::from_raw_parts(octets.cast::<u8>(), count) };
    // SAFETY: reads a variable of this thread.
    let level = unsafe { dpdk_sys::rte_log_cur_msg_loglevel() };
    let text = String::from_utf8_lossy(octets);
    for message in text.lines().map(str::trim).filter(|message| !message.is_empty()) {
        emit(u32::try_from(level).unwrap_or(dpdk_sys::RTE_LOG_INFO), message);
    }
    // Less than `count` would be an error of the stream.
    isize::try_from(count).unwrap_or(isize::MAX)
}

fn emit(level: u32, message: &str) {
    if level <= dpdk_sys::RTE_LOG_ERR {
        tracing::error!(text = message, "dpdk");
    } else if level == dpdk_sys::RTE_LOG_WARNING {
        tracing::warn!(text = message, "dpdk");
    } else if level <= dpdk_sys::RTE_LOG_INFO {
        tracing::info!(text = message, "dpdk");
    } else {
        tracing::debug!(text = message, "dpdk");
    }
}
