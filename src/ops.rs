//! What operators see: metrics, the admin API.
pub mod metrics;
