//! Traffic as frameworks send it, against what their programs really are.

mod crews;
mod joins;
mod world;

use super::*;
