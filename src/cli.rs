//! stub
pub mod prices;
pub mod replay_costs;
