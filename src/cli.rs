//! The commands.

pub mod replay_streams;
