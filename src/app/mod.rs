//! Command line and launch.
