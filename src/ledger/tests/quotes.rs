//! The arithmetic, and which output a call is held for.

use super::super::quote::Quote;
use super::*;
use proptest::prelude::*;

fn quote(fixed: u64, rate: u64, outputs: u64) -> Quote {
    let elastic = Elastic {
        outputs,
        nano_per_million: rate,
        ..output(u64::MAX, 0)
    };
    Quote {
        fixed: usd(fixed).with(Meter::Tokens, fixed),
        elastic: Some(elastic),
    }
}

#[test]
fn rounds_up_and_counts_every_output() {
    let amounts = quote(5, 150, 3).at(7);
    assert_eq!(
        amounts[Meter::Usd],
        5 + 1,
        "21 tokens at 150 nano-dollars a million"
    );
    assert_eq!(amounts[Meter::Tokens], 5 + 21);
    assert_eq!(amounts[Meter::OutputTokens], 21);
    assert_eq!(amounts[Meter::FreshTokens], 21);
    assert_eq!(amounts[Meter::InputTokens], 0);
}

#[test]
fn what_cannot_be_counted_fits_under_no_cap() {
    let quote = quote(1, u64::MAX, u64::MAX);
    assert_eq!(quote.at(u64::MAX)[Meter::Usd], u64::MAX);
    let mut desk = Desk::new();
    let task = key("task", "t");
    let mut ask = fixed(0, &[(&task, u64::MAX)]);
    ask.elastic = Some(Elastic {
        least: u64::MAX,
        ..quote.elastic.unwrap()
    });
    assert!(!desk.denied(&ask).only_held);
}

#[test]
fn absurd_quotes_without_a_cap_still_add_up() {
    let mut desk = Desk::new();
    let task = key("task", "t");
    let mut ask = fixed(u64::MAX, &[]);
    ask.covers = vec![cover(&task, Caps::default())];
    let (one, two) = (desk.ledger_only(&ask), desk.ledger_only(&ask));
    assert_eq!(desk.view(&task).held[Meter::Usd], u64::MAX);
    desk.ledger.void(desk.now, one, 0);
    assert_eq!(desk.view(&task).held[Meter::Usd], u64::MAX);
    desk.ledger.void(desk.now, two, 0);
    desk.assert_quiet();
}

impl Desk {
    /// A hold without the audit, whose own sums are narrow.
    fn ledger_only(&mut self, ask: &Ask) -> HoldId {
        let asker = asker("a", None);
        let patience = Patience::Wait { deadline: NEVER };
        match self.ledger.request(self.now, &asker, ask, patience) {
            Verdict::Held(held) => held.id,
            Verdict::Waiting(id) => {
                let granted = self.ledger.grants().into_iter();
                let balances: Vec<_> = granted
                    .map(|grant| (grant.key, Balance::default()))
                    .collect();
                self.ledger.granted(self.now, &balances);
                let woken = self
                    .ledger
                    .woken()
                    .into_iter()
                    .find(|(woken, _)| *woken == id);
                held(woken.expect("woken").1).id
            }
            other => panic!("{other:?}"),
        }
    }
}

proptest! {
    #[test]
    fn the_most_within_fits_and_one_more_does_not(
        fixed in 0u64..1000, rate in 0u64..u64::MAX, outputs in 0u64..100, room in 0u64..u64::MAX - 1,
    ) {
        let quote = quote(fixed, rate, outputs);
        for meter in [Meter::Usd, Meter::Tokens, Meter::InputTokens] {
            match quote.most_within(meter, room) {
                None => prop_assert!(quote.at(0)[meter] > room),
                Some(most) => {
                    prop_assert!(quote.at(most)[meter] <= room);
                    if most < u64::MAX {
                        prop_assert!(quote.at(most + 1)[meter] > room);
                    }
                }
            }
        }
    }

    #[test]
    fn a_quote_is_never_below_the_charge(
        input in 0u64..10_000_000, in_rate in 0u64..100_000_000_000,
        n in 0u64..1_000_000, out_rate in 0u64..100_000_000_000,
    ) {
        let (input, in_rate) = (u128::from(input), u128::from(in_rate));
        let fixed = u64::try_from((input * in_rate).div_ceil(1_000_000)).unwrap();
        let charge = (input * in_rate + u128::from(n) * u128::from(out_rate)).div_ceil(1_000_000);
        let quoted = quote(fixed, out_rate, 1).at(n)[Meter::Usd];
        prop_assert!(u128::from(quoted) >= charge && u128::from(quoted) <= charge + 1);
    }
}

#[test]
fn a_named_cap_is_left_alone_when_it_fits() {
    let mut desk = Desk::new();
    let task = key("task", "t");
    let held = desk.held(&elastic(900, 256, &[(&task, 1000)]));
    assert_eq!((held.told, held.quoted.usd().0), (None, 900));
}

#[test]
fn unasked_output_is_held_at_the_maximum_up_to_a_quarter() {
    let mut desk = Desk::new();
    let task = key("task", "t");
    let mut ask = elastic(25_000, 256, &[(&task, 100_000)]);
    ask.elastic.as_mut().unwrap().unasked = Some(8192);
    let first = desk.held(&ask);
    assert_eq!((first.told, first.quoted.usd().0), (None, 25_000));
    let second = desk.held(&ask);
    assert_eq!(
        (second.told, second.quoted.usd().0),
        (Some(8192), 8192),
        "a third of what is left"
    );
}

#[test]
fn unasked_output_below_the_usual_is_held_whole_and_told() {
    let mut desk = Desk::new();
    let task = key("task", "t");
    let mut ask = elastic(4096, 256, &[(&task, 10_000)]);
    ask.elastic.as_mut().unwrap().unasked = Some(8192);
    let held = desk.held(&ask);
    assert_eq!((held.told, held.quoted.usd().0), (Some(4096), 4096));
}

#[test]
fn what_cannot_be_clamped_is_left_alone_or_denied() {
    let mut desk = Desk::new();
    let task = key("task", "t");
    let mut ask = elastic(6000, 6000, &[(&task, 10_000)]);
    ask.elastic.as_mut().unwrap().unasked = Some(1000);
    let first = desk.held(&ask);
    assert_eq!((first.told, first.quoted.usd().0), (None, 6000));
    desk.settle(first.id, 6000);
    let denial = desk.denied(&ask);
    assert_eq!(
        (denial.needed, denial.least, denial.only_held),
        (6000, 6000, false)
    );
}

#[test]
fn token_meters_clamp_as_well() {
    let mut desk = Desk::new();
    let task = key("task", "t");
    let caps = Caps::default().with(Meter::Tokens, 1000);
    let mut ask = elastic(500, 10, &[]);
    ask.covers = vec![cover(&task, caps)];
    ask.fixed = Amounts::ZERO
        .with(Meter::Tokens, 700)
        .with(Meter::InputTokens, 700);
    ask.elastic.as_mut().unwrap().outputs = 2;
    let held = desk.held(&ask);
    assert_eq!((held.told, held.quoted[Meter::Tokens]), (Some(150), 1000));
}

#[test]
fn a_ceiling_on_one_call_clamps_or_denies_and_is_no_account() {
    let mut desk = Desk::new();
    let call = AccountKey {
        limit: "one call".into(),
        per: Arc::from([("call", Arc::from(""))]),
        window: None,
    };
    let ask = elastic(5000, 256, &[(&call, 1000)]);
    let one = desk.held(&ask);
    assert_eq!((one.told, one.quoted.usd().0), (Some(1000), 1000));
    desk.settle(one.id, 1000);
    assert_eq!(desk.held(&ask).told, Some(1000), "each call by itself");
    let denial = desk.denied(&elastic(5000, 1001, &[(&call, 1000)]));
    assert_eq!(
        (denial.key, denial.cap, denial.least),
        (call.clone(), 1000, 1001)
    );
    assert_eq!(
        desk.peek(&ask),
        Verdict::Short(Shortage { refinable: true })
    );
    assert_eq!(desk.ledger.accounts().count(), 0);
    let mut observed = ask;
    observed.covers[0].observe = true;
    let held = desk.held(&observed);
    assert_eq!((held.told, held.observed.len()), (None, 1));
}
