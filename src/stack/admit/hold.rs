//! One target: what the call may cost there is quoted and set aside on every account that covers it.

use super::bounds::Bound;
use super::walk::{Miss, Patience};
use super::{Admission, again};
use crate::ledger::{Ask, Asker, Stand};
use crate::purse::{Hold, NoHold};
use crate::stack::tools;
use crate::task::Task;
use std::sync::Arc;

impl Admission {
    /// Quotes and holds at the present target; again with other accounts if a window ends meanwhile.
    pub(super) async fn hold(
        &self,
        task: &Arc<Task>,
        stand: Stand,
        patience: Patience,
    ) -> Result<(Bound, Hold), Miss> {
        if self.live.loaded.policies.limits_tools()
            && let Err(error) = Box::pin(tools::check(self, task)).await
        {
            return Err(Miss::NoHold(error));
        }
        if self.denies_skew() {
            Box::pin(self.check_skew(task)).await?;
        }
        loop {
            let covers = self.covers(Some(task));
            if self.live.loaded.policies.wraps_up() && !self.aside {
                self.choose_words(&covers.covers);
            }
            let bound = Bound::of(self, &covers).map_err(Miss::Unquoted)?;
            let mut ask = Ask {
                covers: covers.covers,
                fixed: bound.fixed,
                elastic: bound.elastic,
            };
            let asker = Asker {
                stand,
                ..self.asker(task.paused_ms(self.now), Some(self.call.body.len()))
            };
            if let Some(record) = self.again.as_deref().and_then(again::Again::leaving) {
                match Box::pin(self.gateway.purse.swap(|| record.leave(), &asker, &ask)).await {
                    Ok(Some(hold)) => return Ok((bound, hold)),
                    Ok(None) => {}
                    Err(NoHold::Rolled) => continue,
                    Err(error) => return Err(Miss::NoHold(error)),
                }
            }
            let mut tightened = None;
            let tighten = |ask: &mut Ask| {
                if let Some(tighter) = bound.tighter(self) {
                    (ask.fixed, ask.elastic) = (tighter.fixed, tighter.elastic);
                    tightened = Some(tighter);
                }
            };
            let purse = &self.gateway.purse;
            let hold = match patience {
                Patience::Until(deadline) => purse.hold(&asker, &mut ask, deadline, tighten).await,
                Patience::Not => Box::pin(purse.hold_at_once(&asker, &mut ask, tighten)).await,
            };
            match hold {
                Ok(hold) => return Ok((tightened.unwrap_or(bound), hold)),
                Err(NoHold::Rolled) => {}
                Err(error) => return Err(Miss::NoHold(error)),
            }
        }
    }

    pub(in crate::stack) fn asker(&self, paused_ms: u64, bytes: Option<usize>) -> Asker {
        let attribution = &self.attribution;
        Asker {
            task: attribution.task_key(),
            agent: attribution.agent.as_ref().map(|agent| agent.value.clone()),
            parent: attribution
                .parent
                .as_ref()
                .map(|parent| parent.value.clone()),
            bytes: bytes.unwrap_or(0),
            paused_ms,
            stand: Stand::default(),
            windows_until: self.live.loaded.policies.next_roll(self.now),
        }
    }
}
