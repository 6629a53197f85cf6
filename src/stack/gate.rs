//! The common shape of stages that need no waiting: look at the request, add to it, let it pass or
//! refuse it.

use super::Refused;
use http::Request;
use pin_project_lite::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tower::{Layer, Service};

/// One synchronous stage.
pub trait Gate<B> {
    /// Looks at a request.
    ///
    /// # Errors
    /// The refusal that the caller gets.
    fn pass(&self, request: &mut Request<B>) -> Result<(), Refused>;
}

/// Puts a gate before a service.
#[derive(Clone, Debug)]
pub struct GateLayer<G>(pub G);

impl<G: Clone, S> Layer<S> for GateLayer<G> {
    type Service = Gated<G, S>;

    fn layer(&self, inner: S) -> Gated<G, S> {
        Gated {
            gate: self.0.clone(),
            inner,
        }
    }
}

/// A service behind a gate.
#[derive(Clone, Debug)]
pub struct Gated<G, S> {
    gate: G,
    inner: S,
}

impl<G, S, B> Service<Request<B>> for Gated<G, S>
where
    G: Gate<B>,
    S: Service<Request<B>, Error = Refused>,
{
    type Response = S::Response;
    type Error = Refused;
    type Future = Passing<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Refused>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        match self.gate.pass(&mut request) {
            Ok(()) => Passing::Inner {
                future: self.inner.call(request),
            },
            Err(refused) => Passing::Refused {
                refused: Some(refused),
            },
        }
    }
}

/// A future on the heap, made where it stays as far as the optimizer sees to it. `Box::pin` makes it on the stack
/// and copies all of it, with the room for whatever it will wait for.
#[inline(always)]
pub fn boxed<F>(make: impl FnOnce() -> F) -> Pin<Box<F>> {
    Box::into_pin(Box::write(Box::new_uninit(), make()))
}

pin_project! {
    /// The inner service's future, or a refusal that is ready at once.
    #[project = PassingProj]
    pub enum Passing<F> {
        /// Let through.
        Inner { #[pin] future: F },
        /// Refused.
        Refused { refused: Option<Refused> },
    }
}

impl<F, R> Future for Passing<F>
where
    F: Future<Output = Result<R, Refused>>,
{
    type Output = Result<R, Refused>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            PassingProj::Inner { future } => Poll::Ready(ready!(future.poll(cx))),
            PassingProj::Refused { refused } => match refused.take() {
                Some(refused) => Poll::Ready(Err(refused)),
                // Polled again after its end: nothing more will come.
                None => Poll::Pending,
            },
        }
    }
}
