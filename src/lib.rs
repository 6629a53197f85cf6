//! Bursar: an LLM gateway that holds the purse for multi-agent systems.
//!
//! `stack` is the path of a call, one stage a file; `ledger` is the purse; `store` is what outlives
//! the process. See `docs/ARCHITECTURE.md`.

pub mod attribution;
pub mod aws;
pub mod cli;
pub mod clock;
pub mod conduct;
pub mod config;
pub mod conversation;
pub mod dialect;
pub mod escalation;
pub mod flights;
pub mod form;
pub mod gateway;
pub mod inference;
pub mod json;
pub mod ledger;
pub mod log;
pub mod loops;
pub mod ops;
pub mod price;
pub mod purse;
pub mod recall;
pub mod server;
pub mod sim;
pub mod sse;
pub mod stack;
pub mod store;
pub mod task;
pub mod tokens;
pub mod traces;
pub mod units;
