//! How many calls a provider is given at once: places, a short line for them, and what comes beyond is
//! shed. Without a bound it only counts.

use crate::config::Resilience;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The places of one provider.
pub struct Places {
    bound: Option<Bound>,
    in_flight: Arc<AtomicUsize>,
}

struct Bound {
    places: Arc<Semaphore>,
    most: usize,
    queued: AtomicUsize,
    max_queued: usize,
    queue_wait: Duration,
}

/// A place that a call has until its exchange is over.
pub struct Place {
    in_flight: Arc<AtomicUsize>,
    /// Given back when it is dropped.
    _place: Option<OwnedSemaphorePermit>,
}

/// What the call is shed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    /// Calls in flight at once.
    pub most: usize,
}

impl Places {
    /// As configured.
    #[must_use]
    pub fn new(config: &Resilience) -> Self {
        let bound = config.max_concurrent.map(|most| Bound {
            places: Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS))),
            most,
            queued: AtomicUsize::new(0),
            max_queued: config.max_queued,
            queue_wait: config.queue_wait,
        });
        Self {
            bound,
            in_flight: Arc::default(),
        }
    }

    /// A place, if one is free.
    ///
    /// # Errors
    /// None is.
    pub fn try_take(&self) -> Result<Place, Full> {
        let place = match &self.bound {
            None => None,
            Some(bound) => match Arc::clone(&bound.places).try_acquire_owned() {
                Ok(place) => Some(place),
                Err(_) => return Err(Full { most: bound.most }),
            },
        };
        Ok(self.taken(place))
    }

    /// A place, waited for if the line is not too long.
    ///
    /// # Errors
    /// The line is full, or the wait is over.
    pub async fn take(&self) -> Result<Place, Full> {
        let (full, bound) = match (self.try_take(), &self.bound) {
            (Ok(place), _) => return Ok(place),
            (Err(full), None) => return Err(full),
            (Err(full), Some(bound)) => (full, bound),
        };
        let _queued = bound.queue().ok_or(full)?;
        let place = Arc::clone(&bound.places).acquire_owned();
        match tokio::time::timeout(bound.queue_wait, place).await {
            Ok(Ok(place)) => Ok(self.taken(Some(place))),
            _ => Err(full),
        }
    }

    /// All places are taken, and nobody more may wait.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.bound.as_ref().is_some_and(|bound| {
            bound.places.available_permits() == 0
                && bound.queued.load(Ordering::Relaxed) >= bound.max_queued
        })
    }

    /// Calls in flight, and those that wait for a place.
    #[must_use]
    pub fn count(&self) -> (usize, usize) {
        let queued = self.bound.as_ref();
        let queued = queued.map_or(0, |bound| bound.queued.load(Ordering::Relaxed));
        (self.in_flight.load(Ordering::Relaxed), queued)
    }

    fn taken(&self, place: Option<OwnedSemaphorePermit>) -> Place {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        Place {
            in_flight: Arc::clone(&self.in_flight),
            _place: place,
        }
    }
}

impl Bound {
    fn queue(&self) -> Option<Queued<'_>> {
        let queued = self.queued.fetch_add(1, Ordering::Relaxed);
        // Counted first, so that two at once do not both find the last place.
        let queued_here = Queued(&self.queued);
        (queued < self.max_queued).then_some(queued_here)
    }
}

/// Somebody who waits; counted until it is dropped.
struct Queued<'a>(&'a AtomicUsize);

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Breaker, Retry};

    fn places(max_concurrent: Option<usize>, max_queued: usize) -> Arc<Places> {
        Arc::new(Places::new(&Resilience {
            retry: Retry::default(),
            breaker: Breaker::default(),
            max_concurrent,
            max_queued,
            queue_wait: Duration::from_secs(5),
            max_idle_connections: 1,
        }))
    }

    #[test]
    fn without_a_bound_it_counts() {
        let places = places(None, 0);
        let (one, two) = (places.try_take().unwrap(), places.try_take().unwrap());
        assert_eq!(places.count(), (2, 0));
        assert!(!places.is_full());
        drop((one, two));
        assert_eq!(places.count(), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn one_waits_and_the_next_is_shed() {
        let places = places(Some(1), 1);
        let first = places.try_take().unwrap();
        let second = tokio::spawn({
            let places = Arc::clone(&places);
            async move { places.take().await.is_ok() }
        });
        tokio::task::yield_now().await;
        assert_eq!(places.count(), (1, 1));
        assert_eq!(places.take().await.err(), Some(Full { most: 1 }));
        drop(first);
        assert!(second.await.unwrap());
        assert_eq!(places.count(), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_has_an_end() {
        let places = places(Some(1), 1);
        let first = places.try_take().unwrap();
        let begun = tokio::time::Instant::now();
        assert!(places.take().await.is_err());
        assert_eq!(begun.elapsed(), Duration::from_secs(5));
        drop(first);
    }
}
