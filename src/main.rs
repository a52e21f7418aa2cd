//! See the library, and the README.

fn main() {}
