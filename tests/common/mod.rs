//! The rig of the tests about money: the real `bursar serve` as a child process, simulated providers
//! in this process as the oracle, callers, and the books of both sides to compare.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "shared by several test programs, none of which uses all of it; a test may panic"
)]

pub mod books;
pub mod calls;
pub mod company;
pub mod fake;
pub mod frames;
pub mod gateway;
pub mod load;
pub mod ops;
pub mod program;
pub mod proxy;
pub mod setup;
pub mod socket;

use std::time::Duration;

/// The longest that a test waits for any one thing: this machine may be busy, but a test that hangs
/// says where.
pub const LONGEST: Duration = Duration::from_secs(150);

/// Waits for this, at most [`LONGEST`].
///
/// # Panics
/// If it does not come.
pub async fn bounded<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(LONGEST, future).await {
        Ok(output) => output,
        Err(_) => panic!("{what}: not within {LONGEST:?}"),
    }
}

/// Waits until `what` is there, looking often, at most `most`.
///
/// # Panics
/// If it does not come.
pub async fn until<T, F>(what: &str, most: Duration, mut look: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    match tokio::time::timeout(most, looking).await {
        Ok(found) => found,
        Err(_) => panic!("{what}: not within {most:?}"),
    }
}

/// A draw of numbers that is the same for the same seed: tests differ in what they do, not from run
/// to run.
#[derive(Clone, Debug)]
pub struct Draw(u64);

impl Draw {
    /// A draw of its own for this seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed ^ 0x9e37_79b9_7f4a_7c15)
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// True so many times in a hundred.
    pub fn percent(&mut self, share: u64) -> bool {
        self.below(100) < share
    }

    /// One of these.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        let at = self.below(from.len() as u64);
        from[usize::try_from(at).expect("an index")]
    }
}
