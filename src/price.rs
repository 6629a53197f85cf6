//! Prices: the catalogue (data under `config/catalogue/`), the most that a call can cost
//! ([`quote`]), and what an answer did cost ([`charge`]).
//!
//! Everything between a token count and a nano-dollar is integers: rates are nano-dollars per
//! million tokens, a charge is one `u128` sum and one rounding up.

pub mod decimal;
pub mod usage;
