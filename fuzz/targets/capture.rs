//! Any bytes as a capture file: nothing panics, reading ends, and times are in range.
#![no_main]

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use evenkeel::io::pcap::CaptureReader;
use libfuzzer_sys::fuzz_target;

/// One file for all runs.
static FILE: Mutex<Option<File>> = Mutex::new(None);

fuzz_target!(|data: &[u8]| {
    let mut kept = FILE.lock().unwrap_or_else(PoisonError::into_inner);
    let file = kept.get_or_insert_with(|| {
        let path = std::env::temp_dir().join(format!("evenkeel-fuzz-{}", std::process::id()));
        let file =
            File::options().read(true).write(true).create_new(true).open(&path).expect("a file to write to");
        std::fs::remove_file(path).expect("the file was made just now");
        file
    });
    file.set_len(0).expect("the file can be emptied");
    file.seek(SeekFrom::Start(0)).expect("a file has a start");
    file.write_all(data).expect("there is room for a few octets");
    // Opening by this name reads from the start.
    let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    let Ok(reader) = CaptureReader::open(&path) else { return };
    for frame in reader.flatten() {
        assert!(frame.time.0 < 1 << 63);
        assert!(frame.bytes.len() <= data.len());
    }
});
