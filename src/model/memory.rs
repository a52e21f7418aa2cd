//! Where packet buffers and flow tables come from.

use std::fmt;
use std::ops::Add;

/// The choice of pages for packet buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// Huge pages if enough are free, else ordinary pages; says which at start.
    Auto,
    /// Huge pages or failure.
    Hugepages,
    /// Ordinary pages.
    NoHugepages,
}

/// The pages that flow tables lie in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TablePages {
    /// Huge pages that the operator has reserved, as far as they go.
    Reserved,
    /// Ordinary ones, which the system may make huge ones of.
    Ordinary,
}

/// What a table takes of the machine's memory, in octets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryNeed {
    /// When it is full.
    pub octets: usize,
    /// Of that, what lies in reserved huge pages if there are any, in whole pages of 2 MiB.
    pub huge_pages: usize,
}

impl Add for MemoryNeed {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { octets: self.octets + other.octets, huge_pages: self.huge_pages + other.huge_pages }
    }
}

impl fmt::Display for TablePages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reserved => "huge",
            Self::Ordinary => "ordinary",
        })
    }
}
