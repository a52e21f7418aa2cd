//! Where packet buffers come from.

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
