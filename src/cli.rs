//! The commands, each thin.

pub mod sim;
