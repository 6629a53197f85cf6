//! Sees that people hear: takes messages out of the store's outbox and posts them to the webhooks,
//! again and again with growing pauses until they arrive or a day has passed.
//!
//! The outbox is durable, so a dead receiver, a restart or `kill -9` loses nothing; a message may
//! arrive twice, under the same `webhook-id`. Redirects are not followed; of an answer only the
//! status is read.

use super::{Escalation, notice};
use crate::clock;
use crate::config::Webhook;
use crate::gateway::Gateway;
use crate::stack::upstream::{Outgoing, Pool};
use crate::store::{Delivery, DeliveryEnd, EscalationFilter, Note, NoteKind, StoreError};
use crate::units::UnixMs;
use http::{Method, Request, StatusCode};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;

/// How long a connection may take.
const IDLE_MAX: usize = 8;
/// To a usable connection.
const CONNECT_TIME: Duration = Duration::from_secs(5);
/// How long a receiver may take to answer.
const ANSWER_TIME: Duration = Duration::from_secs(15);
/// The first pause after a failure, milliseconds; it doubles with each further one.
const PAUSE_MIN_MS: i64 = 1_000;
/// The longest pause, milliseconds.
const PAUSE_MAX_MS: i64 = 600_000;
/// How long a message is tried, milliseconds; then it is given up, and the journal says so.
const GIVE_UP_MS: i64 = 86_400_000;
/// Messages under way to one webhook at once, in number.
const AT_ONCE: usize = 4;
/// Messages taken out of the outbox at a time, in number.
const BATCH: usize = 256;
/// How often the outbox and overdue questions are looked at though nothing happened.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Pause after a fault of the store.
const STORE_PAUSE: Duration = Duration::from_secs(1);

/// How a try went.
enum Tried {
    Arrived,
    Failed(String),
    /// The receiver says that it is gone for good.
    Gone,
    /// It is not configured any more, or cannot be used.
    Unusable(&'static str),
}

/// Delivers until it is dropped.
pub async fn run(gateway: Arc<Gateway>) {
    let mut courier = Courier {
        gateway: Arc::clone(&gateway),
        pools: HashMap::new(),
        under_way: HashMap::new(),
        trying: JoinSet::new(),
    };
    let mut expired = Instant::now();
    loop {
        let looked = match expired.elapsed() >= LOOK_EVERY {
            true => courier.expire().await,
            false => Ok(()),
        };
        if looked.is_ok() && expired.elapsed() >= LOOK_EVERY {
            expired = Instant::now();
        }
        let looked = match looked {
            Ok(()) => courier.look().await,
            Err(error) => Err(error),
        };
        let pause = looked.unwrap_or_else(|error| {
            tracing::warn!(%error, "the outbox cannot be read or written");
            STORE_PAUSE
        });
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = gateway.escalations.news().notified() => {}
            Some(done) = courier.trying.join_next_with_id() => courier.done(done),
        }
    }
}

struct Courier {
    gateway: Arc<Gateway>,
    /// One pool for each set of authorities.
    pools: HashMap<Option<PathBuf>, Pool>,
    /// Which messages are being sent, and to which webhook.
    under_way: HashMap<tokio::task::Id, (i64, Option<Arc<str>>)>,
    trying: JoinSet<Result<(), StoreError>>,
}

impl Courier {
    /// Begins to deliver what is due; the answer is how long to rest.
    async fn look(&mut self) -> Result<Duration, StoreError> {
        let now = clock::now();
        let outbox = self.gateway.purse.store().outbox(now, BATCH).await?;
        let waiting = i64::try_from(outbox.waiting).unwrap_or(i64::MAX);
        self.gateway.metrics.open_escalations.set(waiting);
        if outbox.lapses.is_some_and(|at| at <= now) {
            self.gateway.escalations.lapse().await?;
        }
        let live = self.gateway.live();
        let webhooks = &live.config().escalation.webhooks;
        for delivery in outbox.due {
            if self.may_begin(&delivery) {
                let webhook = webhooks
                    .iter()
                    .find(|webhook| delivery.target.as_deref() == Some(&*webhook.name));
                let names = webhooks.iter().map(|webhook| Arc::clone(&webhook.name));
                let sending = Sending {
                    gateway: Arc::clone(&self.gateway),
                    pool: webhook.and_then(|webhook| self.pool(webhook)),
                    webhook: webhook.cloned(),
                    all: names.collect(),
                };
                let (id, target) = (delivery.id, delivery.target.clone());
                let task = self.trying.spawn(sending.deliver(delivery));
                self.under_way.insert(task.id(), (id, target));
            }
        }
        let later = outbox.next.into_iter().chain(outbox.lapses);
        let rest = later.map(|at| at.0 - now.0).min().unwrap_or(i64::MAX);
        let rest = Duration::from_millis(rest.max(1).unsigned_abs());
        Ok(rest.min(LOOK_EVERY))
    }

    /// Not under way already, and a webhook that is slow or dead keeps none waiting but its own.
    fn may_begin(&self, delivery: &Delivery) -> bool {
        let mut to_same = 0;
        for (id, target) in self.under_way.values() {
            if *id == delivery.id {
                return false;
            }
            to_same += usize::from(*target == delivery.target);
        }
        to_same < AT_ONCE
    }

    fn done(&mut self, done: Result<(Id, Result<(), StoreError>), JoinError>) {
        let id = match &done {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        self.under_way.remove(&id);
        match done {
            Ok((_, Ok(()))) => {}
            Ok((_, Err(error))) => tracing::warn!(%error, "the outbox cannot be written"),
            Err(error) => tracing::error!(%error, "a delivery failed"),
        }
    }

    async fn expire(&self) -> Result<(), StoreError> {
        let expire = self.gateway.live().config().escalation.expire;
        let expire = i64::try_from(expire.as_millis()).unwrap_or(i64::MAX);
        let before = UnixMs(clock::now().0.saturating_sub(expire));
        let ended = self.gateway.escalations.expire(before).await?;
        if ended > 0 {
            tracing::warn!(ended, "questions expired without an answer");
        }
        Ok(())
    }

    fn pool(&mut self, webhook: &Webhook) -> Option<Pool> {
        if let Some(pool) = self.pools.get(&webhook.ca_file) {
            return Some(pool.clone());
        }
        match Pool::new(webhook.ca_file.as_deref(), None, CONNECT_TIME, IDLE_MAX) {
            Ok(pool) => {
                self.pools.insert(webhook.ca_file.clone(), pool.clone());
                Some(pool)
            }
            Err(error) => {
                tracing::error!(webhook = &*webhook.name, %error, "a webhook cannot be used");
                None
            }
        }
    }
}

/// One message on its way.
struct Sending {
    gateway: Arc<Gateway>,
    pool: Option<Pool>,
    /// The webhook it goes to, if it is still configured.
    webhook: Option<Webhook>,
    /// All webhooks' names.
    all: Vec<Arc<str>>,
}

impl Sending {
    async fn deliver(self, delivery: Delivery) -> Result<(), StoreError> {
        let store = self.gateway.purse.store();
        let Some(target) = delivery.target.clone() else {
            return store.address_delivery(delivery.id, self.all).await;
        };
        let filter = EscalationFilter {
            id: Some(delivery.escalation.clone()),
            ..EscalationFilter::default()
        };
        let escalation = store.escalations(filter).await?.pop();
        let tried = match (&self.webhook, escalation) {
            (Some(webhook), Some(escalation)) => self.post(webhook, &escalation, &delivery).await,
            (None, _) => Tried::Unusable("the webhook is configured no longer"),
            (_, None) => Tried::Unusable("the question is kept no longer"),
        };
        let ended = self.ended(tried, &target, &delivery);
        store.end_delivery(delivery.id, ended).await
    }

    fn ended(&self, tried: Tried, target: &str, delivery: &Delivery) -> DeliveryEnd {
        let now = clock::now();
        let waited = now.0.saturating_sub(delivery.created.0);
        let (result, why) = match tried {
            Tried::Arrived => ("delivered", None),
            Tried::Gone => ("given_up", Some("it says that it is gone".to_owned())),
            Tried::Unusable(why) => ("given_up", Some(why.to_owned())),
            Tried::Failed(why) if waited >= GIVE_UP_MS => ("given_up", Some(why)),
            Tried::Failed(why) => {
                let (webhook, tries) = (target, delivery.attempts + 1);
                tracing::warn!(webhook, why, tries, "a person could not be told yet");
                self.gateway.metrics.webhook("failed");
                return DeliveryEnd::Again(UnixMs(now.0 + pause_ms(delivery.attempts)));
            }
        };
        self.gateway.metrics.webhook(result);
        let Some(why) = why else {
            return DeliveryEnd::Done;
        };
        let escalation = &delivery.escalation;
        tracing::error!(webhook = target, why, %escalation, "a person was not told");
        DeliveryEnd::GivenUp(Box::new(Note {
            what: NoteKind::Alarm,
            by: "gateway".into(),
            subject: target.into(),
            detail: format!(
                "{} of {escalation} was not delivered: {why}",
                notice::event_type(delivery.event)
            )
            .into(),
        }))
    }

    async fn post(&self, webhook: &Webhook, escalation: &Escalation, of: &Delivery) -> Tried {
        let address = match webhook.address() {
            Ok(address) => address,
            Err(_) => return Tried::Failed("its address cannot be used".to_owned()),
        };
        let (headers, body) = match notice::message(webhook, escalation, of.event, clock::now()) {
            Ok(message) => message,
            Err(why) => return Tried::Failed(why.to_owned()),
        };
        let Some(pool) = &self.pool else {
            return Tried::Failed("its certificate authority cannot be used".to_owned());
        };
        let mut request = Request::new(Outgoing::Whole(body.into()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = address;
        *request.headers_mut() = headers;
        match tokio::time::timeout(ANSWER_TIME, pool.send(request)).await {
            Err(_) => Tried::Failed(format!("no answer within {ANSWER_TIME:?}")),
            // The error names no address: some are secrets.
            Ok(Err(error)) => Tried::Failed(match std::error::Error::source(&error) {
                Some(cause) => cause.to_string(),
                None => "the connection failed".to_owned(),
            }),
            Ok(Ok(answer)) if answer.status().is_success() => Tried::Arrived,
            Ok(Ok(answer)) if answer.status() == StatusCode::GONE => Tried::Gone,
            Ok(Ok(answer)) => Tried::Failed(format!("status {}", answer.status().as_u16())),
        }
    }
}

/// The pause before the next try: doubled with each, half of it drawn at random, so that a receiver
/// that comes back is not met by everything at once.
fn pause_ms(attempts: u32) -> i64 {
    let whole = PAUSE_MIN_MS
        .saturating_mul(1_i64 << attempts.min(20))
        .min(PAUSE_MAX_MS);
    let mut random = [0_u8; 2];
    // Without randomness all wait as long as they may.
    let draw = match getrandom::fill(&mut random) {
        Ok(()) => i64::from(u16::from_le_bytes(random)),
        Err(_) => i64::from(u16::MAX),
    };
    whole / 2 + whole / 2 * draw / i64::from(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pauses_grow_to_a_bound(attempts in 0_u32..1_000) {
            let pause = pause_ms(attempts);
            prop_assert!(pause >= PAUSE_MIN_MS / 2);
            prop_assert!(pause <= PAUSE_MAX_MS);
            if attempts >= 10 {
                prop_assert!(pause >= PAUSE_MAX_MS / 2);
            }
        }
    }
}
