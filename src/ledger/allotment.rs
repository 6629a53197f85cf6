//! How much to ask of the store at once: little enough that a crash leaves little in doubt, enough
//! that most holds need no round trip.

use super::account::Account;
use super::quote::HELD;
use crate::units::Amounts;

/// An allotment is at most this part of what is left, or one quote if that is more.
const PART: u64 = 16;

/// The level to which the store shall raise the account's grant, so that `quoted` fits: one quote
/// or a sixteenth of what is left, whichever is more, and never above the cap. Meters without a cap
/// need no grant.
pub(super) fn level(account: &Account, quoted: &Amounts) -> Amounts {
    let mut level = account.granted;
    for meter in account.caps.meters.and(HELD) {
        let (used, unheld) = (account.used(meter), account.unheld(meter));
        let more = quoted[meter].max(unheld / PART).min(unheld);
        level[meter] = level[meter].max(used.saturating_add(more));
    }
    level
}

/// True when, `quoted` being held, less than half an allotment is left: the next one is fetched now,
/// so that nobody waits for it.
pub(super) fn runs_low(account: &Account, quoted: &Amounts) -> bool {
    account.caps.meters.and(HELD).each().any(|meter| {
        quoted[meter] > 0 && account.unspent(meter) < account.unheld(meter) / (2 * PART)
    })
}
