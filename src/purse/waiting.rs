//! Calls that wait for their verdict.

use super::{Inner, Purse};
use crate::clock;
use crate::ledger::{Refusal, Verdict, WaiterId};
use std::sync::Arc;
use tokio::sync::oneshot;

impl Inner {
    /// The verdict, or a place in the line.
    pub(super) fn answer(
        &mut self,
        purse: &Arc<Purse>,
        verdict: Verdict,
    ) -> Result<Verdict, Waiting> {
        let Verdict::Waiting(id) = verdict else {
            return Ok(verdict);
        };
        let (tell, told) = oneshot::channel();
        self.waiting.insert(id, tell);
        Err(Waiting {
            purse: Arc::clone(purse),
            id,
            told: Some(told),
        })
    }

    /// Hands out verdicts until none is left. A hold whose waiter has gone is voided at once, which
    /// may answer others.
    pub(super) fn hand_out(&mut self) {
        loop {
            let woken = self.ledger.woken();
            if woken.is_empty() {
                return;
            }
            for (id, verdict) in woken {
                let unheard = match self.waiting.remove(&id) {
                    Some(tell) => tell.send(verdict).err(),
                    None => Some(verdict),
                };
                if let Some(Verdict::Held(held)) = unheard {
                    self.ledger.void(clock::now(), held.id, 0);
                }
            }
        }
    }
}

/// A place in the line; leaves it when dropped.
pub(super) struct Waiting {
    purse: Arc<Purse>,
    id: WaiterId,
    told: Option<oneshot::Receiver<Verdict>>,
}

impl Waiting {
    pub(super) async fn verdict(mut self) -> Verdict {
        // The receiver stays in `self` while it waits, so that a hold that arrives as the caller
        // hangs up is found there by `drop`.
        let verdict = match &mut self.told {
            Some(told) => told.await,
            None => unreachable!("told is taken below and nowhere else"),
        };
        self.told = None;
        verdict.unwrap_or(Verdict::Refused(Refusal::StoreUnavailable))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let Some(mut told) = self.told.take() else {
            return;
        };
        let id = self.id;
        self.purse.with(|inner| {
            inner.waiting.remove(&id);
            match told.try_recv() {
                Ok(Verdict::Held(held)) => {
                    inner.ledger.void(clock::now(), held.id, 0);
                }
                _ => inner.ledger.leave(id),
            }
        });
    }
}
