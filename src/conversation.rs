//! The chain of prefix digests over a call's messages: `d0 = H(system, tools)`,
//! `dn = H(dn-1, message n)`.

/// The digests of one call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// Which agent this is likely to be: system text and tools.
    pub root: u128,
    /// After each message: its digest and the byte offset in the body at which the message ends.
    pub links: Vec<(u128, usize)>,
}
