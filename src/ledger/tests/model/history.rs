//! What may happen, in any order.

use super::ACCOUNTS;
use proptest::prelude::*;

/// One call that asks for money.
#[derive(Clone, Debug)]
pub(super) struct Request {
    /// The accounts that cover it, one bit each.
    pub mask: u8,
    pub price: u64,
    pub want: u64,
    pub least: u64,
    pub unasked: bool,
    pub agent: usize,
    /// Beyond the last agent there is none.
    pub parent: usize,
    pub peek: bool,
    pub ms: i64,
}

#[derive(Clone, Debug)]
pub(super) enum Op {
    Request(Request),
    /// A hold is given up, and another asked for in its stead.
    Swap {
        which: usize,
        attempts: u64,
        request: Request,
    },
    Recap {
        account: usize,
        cap: u64,
        observe: bool,
    },
    Settle {
        which: usize,
        permille: u64,
    },
    Void {
        which: usize,
    },
    Doubt {
        which: usize,
    },
    Correct {
        account: usize,
        quantity: u64,
    },
    TopUp {
        account: usize,
        by: u64,
    },
    Pass {
        ms: i64,
    },
    Serve,
    Fail,
    Leave {
        which: usize,
    },
    Idle,
    /// A call in flight comes under further accounts.
    Cover {
        which: usize,
        mask: u8,
    },
    /// The balances of these are fetched.
    Load {
        mask: u8,
    },
    /// The limit was away: what is known of its accounts counts no longer.
    Retire,
}

fn request() -> impl Strategy<Value = Request> {
    let request = (
        1u8..16,
        0u64..60,
        0u64..300,
        0u64..120,
        any::<bool>(),
        0usize..4,
        0usize..12,
        any::<bool>(),
        1i64..90_000,
    );
    request.prop_map(
        |(mask, price, want, least, unasked, agent, parent, peek, ms)| Request {
            mask,
            price,
            want,
            least,
            unasked,
            agent,
            parent,
            peek,
            ms,
        },
    )
}

pub(super) fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => request().prop_map(Op::Request),
        4 => (0usize..64, 0u64..3, request())
            .prop_map(|(which, attempts, request)| Op::Swap { which, attempts, request }),
        1 => (0..ACCOUNTS, 0u64..3000, prop::bool::weighted(0.2))
            .prop_map(|(account, cap, observe)| Op::Recap { account, cap, observe }),
        6 => (0usize..64, 0u64..1050).prop_map(|(which, permille)| Op::Settle { which, permille }),
        1 => (0usize..64).prop_map(|which| Op::Void { which }),
        1 => (0usize..64).prop_map(|which| Op::Doubt { which }),
        1 => (0..ACCOUNTS, 0u64..200).prop_map(|(account, quantity)| Op::Correct { account, quantity }),
        1 => (0..ACCOUNTS, 1u64..200).prop_map(|(account, by)| Op::TopUp { account, by }),
        3 => prop_oneof![1i64..100, 5_000i64..20_000].prop_map(|ms| Op::Pass { ms }),
        6 => Just(Op::Serve),
        1 => Just(Op::Fail),
        1 => (0usize..64).prop_map(|which| Op::Leave { which }),
        1 => Just(Op::Idle),
        2 => (0usize..64, 1u8..16).prop_map(|(which, mask)| Op::Cover { which, mask }),
        2 => (1u8..16).prop_map(|mask| Op::Load { mask }),
        1 => Just(Op::Retire),
    ]
}
