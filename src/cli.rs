//! The commands, each thin.

pub mod check;
pub mod key;
pub mod prices;
pub mod replay_costs;
pub mod replay_streams;
pub mod sim;
