//! Where packet buffers and flow tables come from.

use std::fmt;

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

impl fmt::Display for TablePages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reserved => "huge",
            Self::Ordinary => "ordinary",
        })
    }
}
