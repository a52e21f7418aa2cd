//! The packet sockets behind a net_af_packet device: the kernel counts the frames that it drops when their rings are full,
//! and the driver of DPDK 22.11 does not ask for that count.

use std::fs;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};

/// The sockets of one device, and the drops read so far.
#[derive(Debug, Default)]
pub(super) struct PacketSockets {
    sockets: Vec<OwnedFd>,
    /// Frames. The kernel starts from 0 with each reading.
    dropped: AtomicU64,
}

impl PacketSockets {
    /// The packet sockets of this process on the interface with this index; none if /proc cannot be read. Some system
    /// calls for each open descriptor. No other thread closes descriptors meanwhile.
    pub(super) fn on_interface(index: u32) -> Self {
        let open = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
        let numbers = open.filter_map(|entry| entry.file_name().to_str()?.parse::<RawFd>().ok());
        let numbers: Vec<RawFd> = numbers.collect();
        let duplicate = |number: RawFd| {
            // SAFETY: the callee checks the descriptor, which need not be open.
            if unsafe { dpdk_sys::evenkeel_packet_socket_interface(number) } != i64::from(index) {
                return None;
            }
            // SAFETY: the descriptor is open, as it was asked just now, and is only duplicated.
            unsafe { BorrowedFd::borrow_raw(number) }.try_clone_to_owned().ok()
        };
        Self { sockets: numbers.into_iter().filter_map(duplicate).collect(), dropped: AtomicU64::new(0) }
    }

    /// Frames that the kernel has dropped since the device was opened because the driver's rings were full. A system call
    /// for each queue.
    pub(super) fn dropped(&self) -> u64 {
        let read = |socket: &OwnedFd| {
            // SAFETY: the descriptor is open.
            let drops = unsafe { dpdk_sys::evenkeel_packet_socket_drops(socket.as_raw_fd()) };
            // Negative: the kernel does not count.
            u64::try_from(drops).unwrap_or(0)
        };
        let new: u64 = self.sockets.iter().map(read).sum();
        self.dropped.fetch_add(new, Ordering::Relaxed) + new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_without_packet_sockets_has_no_drops() {
        let sockets = PacketSockets::on_interface(u32::MAX);
        assert_eq!((sockets.sockets.len(), sockets.dropped()), (0, 0));
    }
}
