//! Prices: the catalogue (data under `config/catalogue/`), the most that a call can cost
//! ([`mod@quote`]), and what an answer did cost ([`mod@charge`]).
//!
//! Everything between a token count and a nano-dollar is integers: rates are nano-dollars per
//! million tokens, a charge is one `u128` sum and one rounding up.

pub mod card;
pub mod catalogue;
pub mod charge;
pub mod decimal;
pub mod glob;
pub mod quote;
pub mod rates;
mod raw;
pub mod refresh;
pub mod usage;

pub use card::{Card, Tokenizer};
pub use catalogue::{Catalogue, Unpriced};
pub use charge::{Charge, Context};
pub use quote::{Dearest, Quote, Settings, Unpriceable, dearest, quote};
pub use rates::{Kind, Rates};
