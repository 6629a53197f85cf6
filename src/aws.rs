//! What AWS has of its own on the wire: signatures of requests ([`sigv4`]) and the frames in which its
//! streams come ([`frames`]). Neither knows HTTP, sockets or a clock.

pub mod frames;
pub mod sigv4;
