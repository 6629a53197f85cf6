//! The calls in flight, so that a task, an identity or everything can be stopped at once.

use crate::attribution::Attribution;
use crate::ledger::HoldId;
use crate::units::{IdentityName, TaskKey, UnixMs};
use atomic_waker::AtomicWaker;
use parking_lot::Mutex;
use slab::Slab;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

/// Why calls in flight are ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Stop {
    /// The task, its identity or everything was suspended.
    Suspended = 1,
    /// The task was closed.
    Closed = 2,
}

/// One call in flight.
pub struct Flight {
    /// Whose it is.
    pub attribution: Arc<Attribution>,
    /// When it was admitted.
    pub admitted: UnixMs,
    aboard: Mutex<Option<Aboard>>,
    stop: AtomicU8,
    waker: AtomicWaker,
}

/// What a call in flight holds, and what limits want to know of it beside its attribution.
#[derive(Clone, Debug)]
pub struct Aboard {
    /// Its hold.
    pub hold: HoldId,
    /// The model as the provider names it.
    pub model: Arc<str>,
    /// The provider.
    pub provider: Arc<str>,
    /// The wire format's name.
    pub dialect: &'static str,
}

impl Flight {
    /// What it holds; `None` while it waits.
    #[must_use]
    pub fn aboard(&self) -> Option<Aboard> {
        self.aboard.lock().clone()
    }

    /// Says what it holds.
    pub fn set_aboard(&self, aboard: Option<Aboard>) {
        *self.aboard.lock() = aboard;
    }

    /// Ready once somebody stopped it. One task at a time may wait.
    pub fn poll_stop(&self, cx: &Context<'_>) -> Poll<Stop> {
        if let Some(stop) = self.stopped() {
            return Poll::Ready(stop);
        }
        self.waker.register(cx.waker());
        // A stop between the look and the registration would have woken nobody.
        self.stopped().map_or(Poll::Pending, Poll::Ready)
    }

    /// Waits until somebody stops it.
    pub async fn stop(&self) -> Stop {
        poll_fn(|cx| self.poll_stop(cx)).await
    }

    /// The agent that makes it.
    #[must_use]
    pub fn agent(&self) -> Option<&str> {
        let agent = self.attribution.agent.as_ref();
        agent.map(|agent| agent.value.as_str())
    }

    fn stopped(&self) -> Option<Stop> {
        match self.stop.load(Ordering::Acquire) {
            1 => Some(Stop::Suspended),
            2 => Some(Stop::Closed),
            _ => None,
        }
    }
}

/// Whose calls to stop.
#[derive(Clone, Debug)]
pub enum Whose {
    /// One task's.
    Task(TaskKey),
    /// One identity's.
    Identity(IdentityName),
    /// Everybody's.
    All,
}

impl Whose {
    /// Whether a call is meant.
    #[must_use]
    pub fn covers(&self, attribution: &Attribution) -> bool {
        match self {
            Self::Task(key) => key.owner == attribution.owner && key.task == attribution.task.value,
            Self::Identity(identity) => *identity == attribution.identity,
            Self::All => true,
        }
    }
}

/// All calls in flight; bounded by the connections and streams that the listeners admit.
#[derive(Default)]
pub struct Flights(Mutex<Slab<Arc<Flight>>>);

/// Takes the call off the list when it is dropped.
pub struct Boarded {
    flights: Arc<Flights>,
    key: usize,
    /// The call.
    pub flight: Arc<Flight>,
}

impl Drop for Boarded {
    fn drop(&mut self) {
        self.flights.0.lock().remove(self.key);
    }
}

impl Flights {
    /// Adds a call.
    #[must_use]
    pub fn board(self: &Arc<Self>, attribution: Arc<Attribution>, now: UnixMs) -> Boarded {
        let flight = Arc::new(Flight {
            attribution,
            admitted: now,
            aboard: Mutex::default(),
            stop: AtomicU8::new(0),
            waker: AtomicWaker::new(),
        });
        let key = self.0.lock().insert(Arc::clone(&flight));
        Boarded {
            flights: Arc::clone(self),
            key,
            flight,
        }
    }

    /// Stops every call that is meant; returns how many were not stopped before. A call that was
    /// stays on the list until its exchange has been seen through.
    pub fn stop(&self, whose: &Whose, stop: Stop) -> usize {
        let flights = self.0.lock();
        let meant = flights
            .iter()
            .filter(|(_, flight)| whose.covers(&flight.attribution));
        let mut stopped = 0;
        for (_, flight) in meant {
            let before = flight.stop.swap(stop as u8, Ordering::AcqRel);
            flight.waker.wake();
            stopped += usize::from(before == 0);
        }
        stopped
    }

    /// Whether any such call is in flight.
    #[must_use]
    pub fn any(&self, whose: &Whose) -> bool {
        let flights = self.0.lock();
        flights
            .iter()
            .any(|(_, flight)| whose.covers(&flight.attribution))
    }

    /// All calls in flight.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Flight>> {
        let flights = self.0.lock();
        flights
            .iter()
            .map(|(_, flight)| Arc::clone(flight))
            .collect()
    }

    /// Whether the call is on the list still.
    #[must_use]
    pub fn has(&self, flight: &Arc<Flight>) -> bool {
        let flights = self.0.lock();
        flights.iter().any(|(_, other)| Arc::ptr_eq(other, flight))
    }

    /// How many calls are in flight.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.lock().len()
    }

    /// How many calls of one task are in flight, by agent.
    #[must_use]
    pub fn of_task(&self, key: &TaskKey) -> Vec<Arc<Flight>> {
        let whose = Whose::Task(key.clone());
        let flights = self.0.lock();
        let meant = flights
            .iter()
            .filter(|(_, flight)| whose.covers(&flight.attribution));
        meant.map(|(_, flight)| Arc::clone(flight)).collect()
    }
}
