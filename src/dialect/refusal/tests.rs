use super::*;
use http::HeaderMap;
use insta::assert_snapshot;
use proptest::prelude::*;
use serde_json::Value;

const USD: u64 = 1_000_000_000;

fn standing() -> Standing {
    Standing {
        limit: "task".into(),
        account: vec![("task", "t-17".into())],
        meter: Meter::Usd,
        cap: 2 * USD,
        settled: 1_960_000_000,
        held: 30_000_000,
        in_doubt: 0,
        needed: 50_000_000,
        resets_at: None,
    }
}

fn headers(refusal: &Refusal) -> HeaderMap {
    refusal.response(Family::Openai).headers().clone()
}

#[test]
fn bodies_are_as_documented() {
    let refusal = Refusal::exceeded(standing());
    let expected: Value = serde_json::from_str(r#"{"error": {"type": "insufficient_quota", "code": "task_budget_exceeded", "param": null,
  "message": "The task's budget of $2.00 is spent: $1.96 settled, $0.03 held; this call may cost up to $0.05.",
  "bursar": {"limit": "task", "account": {"task": "t-17"}, "meter": "usd", "cap": "2.00", "settled": "1.96", "held": "0.03",
             "in_doubt": "0", "needed": "0.05", "resets_at": null, "escalation": null, "retryable": false}}}"#).unwrap();
    let body: Value = serde_json::from_str(&refusal.body(Family::Openai)).unwrap();
    assert_eq!(body, expected);
    assert_snapshot!("openai", refusal.body(Family::Openai));
    assert_snapshot!("anthropic", refusal.body(Family::Anthropic));
    let plain = Refusal::new(Code::ModelNotFound, "No provider has `x`.").with_escalation("e-1");
    assert_snapshot!("openai_plain", plain.body(Family::Openai));
    assert_snapshot!("anthropic_plain", plain.body(Family::Anthropic));
}

#[test]
fn messages_say_which_limit_what_is_spent_and_what_was_needed() {
    let day = Standing {
        limit: "owner per day".into(),
        account: vec![("owner", "research".into())],
        settled: 0,
        held: 0,
        needed: 3 * USD,
        resets_at: Some(UnixMs(1_795_219_200_000)),
        ..standing()
    };
    let agent = Standing {
        limit: "agent turns".into(),
        account: vec![("task", "t".into()), ("agent", "a".into())],
        meter: Meter::Turns,
        cap: 40,
        settled: 40,
        held: 0,
        needed: 1,
        ..standing()
    };
    let role = Standing {
        limit: "researchers are cheap".into(),
        account: vec![("task", "t".into()), ("role", "researcher".into())],
        meter: Meter::FreshTokens,
        cap: 10_000,
        settled: 5_000,
        held: 100,
        in_doubt: 200,
        needed: 9_000,
        ..standing()
    };
    let per_call = Standing {
        limit: "one call".into(),
        account: vec![("call", "".into())],
        settled: 0,
        held: 0,
        ..standing()
    };
    let tools = Standing {
        meter: Meter::ToolCalls,
        cap: 400,
        settled: 403,
        ..standing()
    };
    let time = Standing {
        meter: Meter::Duration,
        cap: 1_800_000,
        settled: 1_812_500,
        ..standing()
    };
    let texts = [
        Refusal::exceeded(standing()),
        Refusal::held(standing()),
        Refusal::exceeded(day),
        Refusal::exceeded(agent),
        Refusal::exceeded(role),
        Refusal::exceeded(per_call),
        Refusal::exceeded(tools),
        Refusal::exceeded(time),
    ]
    .map(|refusal| format!("{}: {}", refusal.code().name(), refusal.message()));
    assert_snapshot!("messages", texts.join("\n"));
}

#[test]
fn the_code_follows_from_meter_and_per() {
    let code = |meter, per: &[&'static str]| {
        let account: Vec<Dimension> = per
            .iter()
            .map(|dimension| (*dimension, "x".into()))
            .collect();
        Code::exceeded(meter, &account)
    };
    assert_eq!(code(Meter::Usd, &["task"]), Code::TaskBudgetExceeded);
    assert_eq!(
        code(Meter::Tokens, &["owner", "task"]),
        Code::TaskBudgetExceeded
    );
    assert_eq!(
        code(Meter::Usd, &["task", "agent"]),
        Code::AgentBudgetExceeded
    );
    assert_eq!(
        code(Meter::Usd, &["identity"]),
        Code::IdentityBudgetExceeded
    );
    assert_eq!(code(Meter::Usd, &["task", "role"]), Code::BudgetExceeded);
    assert_eq!(code(Meter::Usd, &["owner"]), Code::BudgetExceeded);
    assert_eq!(code(Meter::Usd, &[]), Code::BudgetExceeded);
    assert_eq!(code(Meter::Turns, &["task"]), Code::TurnsExceeded);
    assert_eq!(code(Meter::ToolCalls, &["task"]), Code::ToolCallsExceeded);
    assert_eq!(code(Meter::Duration, &["task"]), Code::DeadlineExceeded);
    assert_eq!(code(Meter::Tasks, &["owner"]), Code::LimitExceeded);
}

#[test]
fn only_final_refusals_stop_retries_and_only_throughput_names_a_time() {
    for code in Code::ALL {
        let headers = headers(&Refusal::new(*code, "No."));
        assert_eq!(
            headers.get("x-should-retry").is_some(),
            code.status() == 402,
            "{}",
            code.name()
        );
        assert_eq!(headers.get("content-type").unwrap(), "application/json");
        assert!(!headers.contains_key("retry-after"));
    }
    let limited = Refusal::rate_limited("More tokens per minute than this key may use.", 3600);
    assert_eq!(headers(&limited)["retry-after"], "60");
    assert_eq!(limited.status(), 429);
}

#[test]
fn the_older_status_is_for_budgets_alone() {
    let older = Refusal::exceeded(standing()).with_refusal_status(429);
    assert_eq!(older.response(Family::Openai).status(), 429);
    assert_eq!(headers(&older)["x-should-retry"], "false");
    assert!(!headers(&older).contains_key("retry-after"));
    let other = Refusal::new(Code::Unauthenticated, "Who is it?").with_refusal_status(429);
    assert_eq!(other.status(), 401);
}

#[test]
fn statuses_and_types_are_those_of_the_table() {
    let row = |code: &Code| {
        format!(
            "{} {} {} {}",
            code.status(),
            code.name(),
            code.openai_type(),
            code.anthropic_type()
        )
    };
    let table: Vec<String> = Code::ALL.iter().map(row).collect();
    assert_snapshot!("table", table.join("\n"));
}

fn has_retry_words(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    ["429", "rate limit", "rate_limit", "too many requests"]
        .iter()
        .any(|word| message.contains(word))
}

#[test]
fn words_that_make_clients_retry_never_stand_in_a_message() {
    for code in Code::ALL {
        let refusal = Refusal::new(
            *code,
            "Rate Limit 429429: TOO MANY REQUESTS for model-4429, rate_limit",
        );
        assert!(!has_retry_words(refusal.message()), "{}", refusal.message());
    }
    let odd = Standing {
        limit: "rate limit of 429 requests".into(),
        settled: 1_429_000_000,
        needed: 429_429_429,
        ..standing()
    };
    let refusal = Refusal::exceeded(odd);
    assert!(!has_retry_words(refusal.message()), "{}", refusal.message());
    assert!(
        refusal
            .body(Family::Openai)
            .contains("\"settled\":\"1.429\""),
        "the details stay exact"
    );
}

proptest! {
    #[test]
    fn no_numbers_bring_the_words_back(
        meter in 0..Meter::COUNT, cap in any::<u64>(), settled in prop_oneof![any::<u64>(), 4290_u64..4300],
        held in 0_u64..100_000, in_doubt in 0_u64..2, needed in 0_u64..1_000_000, limit in "[a-z 0-9_]{0,20}",
    ) {
        let standing = Standing {
            limit: limit.into(), meter: Meter::ALL[meter], cap, settled, held, in_doubt, needed, ..standing()
        };
        for refusal in [Refusal::exceeded(standing.clone()), Refusal::held(standing)] {
            prop_assert!(!has_retry_words(refusal.message()), "{}", refusal.message());
            let _: Value = serde_json::from_str(&refusal.body(Family::Anthropic)).unwrap();
        }
    }
}

#[test]
fn a_context_that_is_too_large_says_how_large_and_which_cap() {
    let large = |needed| Standing {
        limit: "workers".into(),
        account: vec![("call", "req_1".into())],
        meter: Meter::InputTokens,
        cap: 60_000,
        settled: 0,
        held: 0,
        needed,
        ..standing()
    };
    let of = |name, needed, besides| {
        let refusal = Refusal::context(name, large(needed), besides);
        assert_eq!(refusal.code(), Code::ContextExceeded);
        refusal
    };
    let plain = of("context_tokens", 61_429, "");
    let said: Vec<String> = [
        plain.message(),
        of("handoff_tokens", 70_000, "Nothing in it may be left out.").message(),
        of("context_tokens", u64::MAX, "").message(),
        &plain.body(Family::Anthropic),
    ]
    .map(str::to_owned)
    .to_vec();
    assert_snapshot!(said.join("\n"), @r#"
    The context is too large: this call has up to about 61430 input tokens, and the cap is 60000 (limit "workers").
    What this agent is handed is too large: its first call has up to 70000 input tokens, and the cap is 60000 (limit "workers"). Nothing in it may be left out.
    The context is too large: this call draws in what cannot be measured from here, and the cap is 60000 input tokens (limit "workers").
    {"type":"error","error":{"type":"billing_error","message":"The context is too large: this call has up to about 61430 input tokens, and the cap is 60000 (limit \"workers\").","code":"context_exceeded","bursar":{"limit":"workers","account":{"call":"req_1"},"meter":"context_tokens","cap":"60000","settled":"0","held":"0","in_doubt":"0","needed":"61429","resets_at":null,"escalation":null,"retryable":false}}}
    "#);
}
