//! Capture files: what replay reads and writes. Classic pcap (both byte orders, microseconds and nanoseconds) and
//! pcapng in; pcap with nanoseconds out. Ethernet only.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
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
    #[error("{}: {source}", path.display())]
    File {
        /// The capture.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The content is not a capture, or is damaged.
    #[error("{}: frame {frame}: {source}; give a pcap or pcapng file", path.display())]
    Format {
        /// The capture.
        path: PathBuf,
        /// The number of the frame that could not be read, from 1; 0: the file's header.
        frame: u64,
        /// What is wrong.
        source: PcapError,
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
    /// A frame could not be read: nothing behind it can be found.
    broken: bool,
    format: Format,
}

enum Format {
    Classic(PcapReader<BufReader<File>>),
    NextGeneration {
        reader: PcapNgReader<BufReader<File>>,
        /// Nanoseconds per unit of time, by interface.
        units: Vec<Unit>,
    },
}

/// The unit of an interface's time stamps as a fraction of a second.
#[derive(Clone, Copy)]
struct Unit {
    per_second: u64,
}

impl CaptureReader {
    /// Opens a capture and reads its header.
    ///
    /// # Errors
    /// A file that cannot be read, is no capture, or not of Ethernet frames.
    pub fn open(path: &Path) -> Result<Self, CaptureError> {
        let file = |source| CaptureError::File { path: path.to_owned(), source };
        let mut magic = [0; 4];
        let count = File::open(path).and_then(|mut opened| opened.read(&mut magic)).map_err(file)?;
        let reader = BufReader::with_capacity(1 << 20, File::open(path).map_err(file)?);
        let header = |source| CaptureError::Format { path: path.to_owned(), frame: 0, source };
        // The section header block of pcapng reads the same in both byte orders.
        let format = if count == 4 && magic == [0x0a, 0x0d, 0x0d, 0x0a] {
            Format::NextGeneration { reader: PcapNgReader::new(reader).map_err(header)?, units: Vec::new() }
        } else {
            let reader = PcapReader::new(reader).map_err(header)?;
            ethernet(path, reader.header().datalink)?;
            Format::Classic(reader)
        };
        Ok(Self { path: path.to_owned(), frames: 0, broken: false, format })
    }

    fn read(&mut self) -> Result<Option<CapturedFrame>, CaptureError> {
        let broken =
            |source| CaptureError::Format { path: self.path.clone(), frame: self.frames + 1, source };
        match &mut self.format {
            Format::Classic(reader) => {
                let fractions = match reader.header().ts_resolution {
                    TsResolution::MicroSecond => 1_000,
                    TsResolution::NanoSecond => 1,
                };
                // Raw: the reader's own checks refuse frames that a capture was told to cut.
                let Some(packet) = reader.next_raw_packet() else { return Ok(None) };
                let packet = packet.map_err(broken)?;
                Ok(Some(CapturedFrame {
                    time: Nanos::from_secs(u64::from(packet.ts_sec))
                        + Nanos(u64::from(packet.ts_frac) * fractions),
                    cut: packet.incl_len < packet.orig_len,
                    bytes: packet.data.into_owned(),
                }))
            }
            Format::NextGeneration { reader, units } => loop {
                let Some(block) = reader.next_block() else { return Ok(None) };
                match block.map_err(broken)? {
                    Block::SectionHeader(_) => units.clear(),
                    Block::InterfaceDescription(interface) => {
                        ethernet(&self.path, interface.linktype)?;
                        units.push(Unit::of(&interface));
                    }
                    Block::EnhancedPacket(packet) => {
                        let unit = units.get(packet.interface_id as usize).copied().unwrap_or(Unit::DEFAULT);
                        return Ok(Some(CapturedFrame {
                            // The reader hands the raw count of units out as nanoseconds.
                            time: unit.time(u64::try_from(packet.timestamp.as_nanos()).unwrap_or(u64::MAX)),
                            cut: (packet.data.len() as u64) < u64::from(packet.original_len),
                            bytes: packet.data.into_owned(),
                        }));
                    }
                    // Simple packets have no time; the other blocks are no frames.
                    Block::SimplePacket(_)
                    | Block::Packet(_)
                    | Block::NameResolution(_)
                    | Block::InterfaceStatistics(_)
                    | Block::SystemdJournalExport(_)
                    | Block::Unknown(_) => {}
                }
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
        self.broken = frame.is_err();
        frame.transpose()
    }
}

impl Unit {
    /// Microseconds, where the interface does not say.
    const DEFAULT: Self = Self { per_second: 1_000_000 };

    /// From `if_tsresol`: a negative power of 10, or of 2 if the high bit is set.
    fn of(interface: &InterfaceDescriptionBlock<'_>) -> Self {
        let resolution = interface.options.iter().find_map(|option| match option {
            InterfaceDescriptionOption::IfTsResol(resolution) => Some(*resolution),
            _ => None,
        });
        let Some(resolution) = resolution else { return Self::DEFAULT };
        let (base, power) =
            if resolution & 0x80 == 0 { (10_u64, resolution) } else { (2, resolution & 0x7f) };
        Self { per_second: base.checked_pow(u32::from(power)).unwrap_or(u64::MAX) }
    }

    fn time(self, count: u64) -> Nanos {
        let nanos = u128::from(count) * 1_000_000_000 / u128::from(self.per_second);
        Nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
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
        let file =
            File::create(path).map_err(|source| CaptureError::File { path: path.to_owned(), source })?;
        let header = PcapHeader {
            datalink: DataLink::ETHERNET,
            ts_resolution: TsResolution::NanoSecond,
            snaplen: 1 << 18,
            // Fixed, so that the same frames give the same bytes on every machine.
            endianness: Endianness::Little,
            ..PcapHeader::default()
        };
        let writer = PcapWriter::with_header(BufWriter::with_capacity(1 << 20, file), header)
            .map_err(|source| writing(path, source))?;
        Ok(Self { path: path.to_owned(), writer })
    }

    /// Appends a frame.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn write(&mut self, time: Nanos, bytes: &[u8]) -> Result<(), CaptureError> {
        let octets = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let packet = PcapPacket::new(Duration::from(time), octets, bytes);
        self.writer.write_packet(&packet).map(drop).map_err(|source| writing(&self.path, source))
    }

    /// Writes what is buffered.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn finish(self) -> Result<(), CaptureError> {
        let flushed = self.writer.into_writer().flush();
        flushed.map_err(|source| CaptureError::File { path: self.path, source })
    }
}

fn writing(path: &Path, source: PcapError) -> CaptureError {
    match source {
        PcapError::IoError(source) => CaptureError::File { path: path.to_owned(), source },
        source => CaptureError::Format { path: path.to_owned(), frame: 0, source },
    }
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
            assert_eq!(Unit { per_second }.time(count), Nanos(nanos));
        }
    }
}
