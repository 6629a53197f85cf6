//! stub
pub mod endpoint;
pub mod trace;
pub mod upstream;
