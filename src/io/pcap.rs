//! Capture files: what replay reads and writes. Classic pcap (both byte orders, microseconds and nanoseconds) and
//! pcapng in; pcap with nanoseconds out. Ethernet only.

use std::fs::File;
use std::io::{BufReader, BufWriter, Chain, Cursor, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use pcap_file::pcap::{PcapHeader, PcapPacket, PcapReader, PcapWriter};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::{Block, PcapNgReader};
use pcap_file::{DataLink, Endianness, PcapError, TsResolution};
use thiserror::Error;

use crate::model::Nanos;

/// A frame of a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapturedFrame {
    /// When it was captured, since 1970.
    pub time: Nanos,
    /// What was captured of it.
    pub bytes: Vec<u8>,
    /// Its length on the wire was greater: the capture holds only its beginning.
    pub cut: bool,
}

/// Why a capture cannot be used.
#[derive(Debug, Error)]
pub enum CaptureError {
    /// Opening, creating or writing failed.
    #[error("{}: {cause}", path.display())]
    File {
        /// The capture.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The file does not begin as a capture does.
    #[error("{}: not a capture ({cause}); give a pcap or pcapng file", path.display())]
    NoCapture {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: PcapError,
    },
    /// The capture breaks off or is damaged: nothing behind this frame can be found.
    #[error("{}: frame {frame}: {cause}; the capture is damaged or was not finished", path.display())]
    Damaged {
        /// The capture.
        path: PathBuf,
        /// The number of the frame that could not be read, from 1.
        frame: u64,
        /// What is wrong.
        cause: PcapError,
    },
    /// A frame's time is none that a classic capture can hold: before 1970 or after 2106.
    #[error("{}: frame {frame}: its time is not between 1970 and 2106; the capture is damaged", path.display())]
    Time {
        /// The capture.
        path: PathBuf,
        /// The number of the frame, from 1.
        frame: u64,
    },
    /// The capture's frames are not Ethernet.
    #[error("{}: link type {link:?}; only Ethernet captures can be replayed", path.display())]
    LinkType {
        /// The capture.
        path: PathBuf,
        /// What it says its frames are.
        link: DataLink,
    },
}

/// A capture being read.
pub struct CaptureReader {
    path: PathBuf,
    frames: u64,
    /// The time of the last frame, for those that have none of their own.
    last: Nanos,
    /// A frame could not be read: nothing behind it can be found.
    broken: bool,
    format: Format,
}

/// The file behind its first octets, which were read to see what it is: it may be a pipe, which cannot be read again.
type Source = BufReader<Chain<Cursor<Vec<u8>>, File>>;

enum Format {
    Classic(PcapReader<Source>),
    NextGeneration {
        reader: PcapNgReader<Source>,
        /// In the order of the section.
        interfaces: Vec<Interface>,
    },
}

impl CaptureReader {
    /// Opens a capture and reads its header.
    ///
    /// # Errors
    /// A file that cannot be read, is no capture, or not of Ethernet frames.
    pub fn open(path: &Path) -> Result<Self, CaptureError> {
        let failed = |cause| CaptureError::File { path: path.to_owned(), cause };
        let file = File::open(path).map_err(failed)?;
        let mut magic = Vec::new();
        (&file).take(4).read_to_end(&mut magic).map_err(failed)?;
        // The section header block of pcapng reads the same in both byte orders.
        let next_generation = magic == [0x0a, 0x0d, 0x0d, 0x0a];
        let source = BufReader::with_capacity(1 << 20, Cursor::new(magic).chain(file));
        let none = |cause| CaptureError::NoCapture { path: path.to_owned(), cause };
        let format = if next_generation {
            let reader = PcapNgReader::new(source).map_err(none)?;
            Format::NextGeneration { reader, interfaces: Vec::new() }
        } else {
            let reader = PcapReader::new(source).map_err(none)?;
            ethernet(path, reader.header().datalink)?;
            Format::Classic(reader)
        };
        Ok(Self { path: path.to_owned(), frames: 0, last: Nanos(0), broken: false, format })
    }

    fn read(&mut self) -> Result<Option<CapturedFrame>, CaptureError> {
        let frame = self.frames + 1;
        let damaged = |cause| CaptureError::Damaged { path: self.path.clone(), frame, cause };
        let no_time = || CaptureError::Time { path: self.path.clone(), frame };
        match &mut self.format {
            Format::Classic(reader) => {
                let per_second = match reader.header().ts_resolution {
                    TsResolution::MicroSecond => 1_000_000,
                    TsResolution::NanoSecond => 1_000_000_000,
                };
                // Raw: the reader's own checks refuse frames that a capture was told to cut.
                let Some(packet) = reader.next_raw_packet() else { return Ok(None) };
                let packet = packet.map_err(damaged)?;
                let units = u64::from(packet.ts_sec) * per_second + u64::from(packet.ts_frac);
                let clock = Interface { per_second, ..Interface::DEFAULT };
                Ok(Some(CapturedFrame {
                    time: clock.time(units).ok_or_else(no_time)?,
                    cut: packet.incl_len < packet.orig_len,
                    bytes: packet.data.into_owned(),
                }))
            }
            Format::NextGeneration { reader, interfaces } => loop {
                let endianness = reader.section().endianness;
                let Some(block) = reader.next_block() else { return Ok(None) };
                let (time, bytes, octets) = match block.map_err(damaged)? {
                    Block::SectionHeader(_) => {
                        interfaces.clear();
                        continue;
                    }
                    Block::InterfaceDescription(interface) => {
                        ethernet(&self.path, interface.linktype)?;
                        interfaces.push(Interface::of(&interface));
                        continue;
                    }
                    Block::EnhancedPacket(packet) => {
                        let clock = interfaces.get(packet.interface_id as usize).copied().unwrap_or_default();
                        // The reader hands the raw count of units out as nanoseconds.
                        let units = u64::try_from(packet.timestamp.as_nanos()).unwrap_or(u64::MAX);
                        (clock.time(units).ok_or_else(no_time)?, packet.data, packet.original_len)
                    }
                    Block::Packet(packet) => {
                        let clock =
                            interfaces.get(usize::from(packet.interface_id)).copied().unwrap_or_default();
                        // The halves stand the high one first, whatever the byte order; the reader takes them for one.
                        let units = match endianness {
                            Endianness::Big => packet.timestamp,
                            Endianness::Little => packet.timestamp.rotate_left(32),
                        };
                        (clock.time(units).ok_or_else(no_time)?, packet.data, packet.original_len)
                    }
                    // It has no time: that of the frame before it serves. Its length is the interface's to limit.
                    Block::SimplePacket(packet) => {
                        let snap = interfaces.first().copied().unwrap_or_default().snap_length;
                        let octets = usize::try_from(packet.original_len.min(snap)).unwrap_or(usize::MAX);
                        let mut bytes = packet.data.into_owned();
                        bytes.truncate(octets);
                        (self.last, bytes.into(), packet.original_len)
                    }
                    Block::NameResolution(_)
                    | Block::InterfaceStatistics(_)
                    | Block::SystemdJournalExport(_)
                    | Block::Unknown(_) => continue,
                };
                let cut = (bytes.len() as u64) < u64::from(octets);
                return Ok(Some(CapturedFrame { time, bytes: bytes.into_owned(), cut }));
            },
        }
    }
}

impl Iterator for CaptureReader {
    type Item = Result<CapturedFrame, CaptureError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.broken {
            return None;
        }
        let frame = self.read();
        self.frames += 1;
        match &frame {
            Ok(Some(frame)) => self.last = frame.time,
            Ok(None) => {}
            Err(_) => self.broken = true,
        }
        frame.transpose()
    }
}

/// What an interface says of its frames.
#[derive(Clone, Copy)]
struct Interface {
    /// Units of its clock in a second.
    per_second: u64,
    /// Seconds that its clock's times lack.
    offset: i64,
    /// Octets kept of a frame.
    snap_length: u32,
}

impl Interface {
    /// Microseconds, where the interface does not say.
    const DEFAULT: Self = Self { per_second: 1_000_000, offset: 0, snap_length: u32::MAX };

    /// The last time that the 32 bits of a classic capture can say.
    const LAST_TIME: i128 = u32::MAX as i128 * 1_000_000_000 + 999_999_999;

    fn of(interface: &InterfaceDescriptionBlock<'_>) -> Self {
        let mut found = Self::DEFAULT;
        if interface.snaplen != 0 {
            found.snap_length = interface.snaplen;
        }
        for option in &interface.options {
            match option {
                // A negative power of 10, or of 2 if the high bit is set.
                InterfaceDescriptionOption::IfTsResol(resolution) => {
                    let power = u32::from(resolution & 0x7f);
                    let base = if resolution & 0x80 == 0 { 10_u64 } else { 2 };
                    found.per_second = base.checked_pow(power).unwrap_or(u64::MAX);
                }
                InterfaceDescriptionOption::IfTsOffset(seconds) => found.offset = seconds.cast_signed(),
                _ => {}
            }
        }
        found
    }

    /// The time that a count of units stands for; `None` if a classic capture could not say it.
    fn time(self, units: u64) -> Option<Nanos> {
        let nanos = i128::from(units) * 1_000_000_000 / i128::from(self.per_second)
            + i128::from(self.offset) * 1_000_000_000;
        u64::try_from(nanos).ok().filter(|_| nanos <= Self::LAST_TIME).map(Nanos)
    }
}

impl Default for Interface {
    fn default() -> Self {
        Self::DEFAULT
    }
}

fn ethernet(path: &Path, link: DataLink) -> Result<(), CaptureError> {
    if link == DataLink::ETHERNET {
        Ok(())
    } else {
        Err(CaptureError::LinkType { path: path.to_owned(), link })
    }
}

/// A capture being written.
pub struct CaptureWriter {
    path: PathBuf,
    writer: PcapWriter<BufWriter<File>>,
}

impl CaptureWriter {
    /// Creates or empties a capture.
    ///
    /// # Errors
    /// A file that cannot be created or written.
    pub fn create(path: &Path) -> Result<Self, CaptureError> {
        let file = File::create(path).map_err(|cause| CaptureError::File { path: path.to_owned(), cause })?;
        let header = PcapHeader {
            datalink: DataLink::ETHERNET,
            ts_resolution: TsResolution::NanoSecond,
            snaplen: 1 << 18,
            // Fixed, so that the same frames give the same bytes on every machine.
            endianness: Endianness::Little,
            ..PcapHeader::default()
        };
        let writer = PcapWriter::with_header(BufWriter::with_capacity(1 << 20, file), header)
            .map_err(|cause| writing(path, cause))?;
        Ok(Self { path: path.to_owned(), writer })
    }

    /// Appends a frame.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn write(&mut self, time: Nanos, bytes: &[u8]) -> Result<(), CaptureError> {
        let octets = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let packet = PcapPacket::new(Duration::from(time), octets, bytes);
        self.writer.write_packet(&packet).map(drop).map_err(|cause| writing(&self.path, cause))
    }

    /// Writes what is buffered.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn finish(self) -> Result<(), CaptureError> {
        let flushed = self.writer.into_writer().flush();
        flushed.map_err(|cause| CaptureError::File { path: self.path, cause })
    }
}

fn writing(path: &Path, cause: PcapError) -> CaptureError {
    let cause = match cause {
        PcapError::IoError(cause) => cause,
        // Reading refuses what cannot be written: times and lengths.
        other => std::io::Error::other(other),
    };
    CaptureError::File { path: path.to_owned(), cause }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.pcap");
        let mut writer = CaptureWriter::create(&path).unwrap();
        writer.write(Nanos(1_700_000_000_123_456_789), &[1, 2, 3]).unwrap();
        writer.finish().unwrap();
        let frames: Vec<_> = CaptureReader::open(&path).unwrap().map(Result::unwrap).collect();
        let expected =
            CapturedFrame { time: Nanos(1_700_000_000_123_456_789), bytes: vec![1, 2, 3], cut: false };
        assert_eq!(frames, [expected]);
    }

    #[test]
    fn a_frame_that_the_capture_cut_short_is_read_and_marked() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cut.pcap");
        // Big-endian, microseconds, snap length 4; one frame of 1,500 octets at 1.5 s.
        let words: [u32; 10] = [0xa1b2_c3d4, 0x0002_0004, 0, 0, 4, 1, 1, 500_000, 4, 1500];
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        bytes.extend([1, 2, 3, 4]);
        std::fs::write(&path, bytes).unwrap();
        let frames: Vec<_> = CaptureReader::open(&path).unwrap().map(Result::unwrap).collect();
        assert_eq!(
            frames,
            [CapturedFrame { time: Nanos(1_500_000_000), bytes: vec![1, 2, 3, 4], cut: true }]
        );
    }

    #[test]
    fn a_file_that_is_no_capture_is_refused_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("letter.txt");
        std::fs::write(&path, "dear reader, this is not a capture").unwrap();
        let message = CaptureReader::open(&path).err().unwrap().to_string();
        assert!(
            message.contains("letter.txt") && message.contains("give a pcap or pcapng file"),
            "{message}"
        );
    }

    #[test]
    fn time_stamps_of_any_resolution_come_out_in_nanoseconds() {
        for (per_second, count, nanos) in [
            (1_000_000, 5, 5_000),
            (1_000_000_000, 5, 5),
            (1 << 10, 1 << 10, 1_000_000_000),
            (1, 3, 3_000_000_000),
        ] {
            let clock = Interface { per_second, ..Interface::DEFAULT };
            assert_eq!(clock.time(count), Some(Nanos(nanos)));
        }
    }

    #[test]
    fn a_clock_may_be_off_by_whole_seconds_but_not_out_of_the_century() {
        let clock = |offset| Interface { per_second: 1, offset, ..Interface::DEFAULT };
        assert_eq!(clock(-3).time(5), Some(Nanos::from_secs(2)));
        assert_eq!(clock(-6).time(5), None);
        assert_eq!(clock(0).time(u64::from(u32::MAX)), Some(Nanos::from_secs(u64::from(u32::MAX))));
        assert_eq!(clock(1).time(u64::from(u32::MAX)), None);
        assert_eq!(clock(i64::MAX).time(u64::MAX), None);
    }
}
