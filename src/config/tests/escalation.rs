//! `[escalation]` and the limits that ask.

use super::*;
use crate::units::Meter;

fn parse(text: &str) -> Result<Config, Faults> {
    let text = format!(
        "{text}\n[[provider]]\nname = \"p\"\nkind = \"openai\"\nbase_url = \"http://127.0.0.1:1/v1\"\n"
    );
    Config::parse(&text, Path::new("config/bursar.toml"))
}

#[test]
fn the_usual_settings() {
    let usual = parse("").unwrap().escalation;
    assert_eq!(usual, EscalationSettings::default());
    assert_eq!(usual.wait.as_secs(), 300);
}

#[test]
fn webhooks_of_both_kinds_and_their_names() {
    let text = r#"
[escalation]
wait = "90s"
expire = "2d"
max_waiting = 7
webhook = [
  { name = "pager", url = "https://hooks.example.com/x", secret = "env:S" },
  { url = "env:CHAT", kind = "slack" },
]
"#;
    let mut settings = parse(text).unwrap().escalation;
    assert_eq!(
        (
            settings.wait.as_secs(),
            settings.expire.as_secs(),
            settings.max_waiting
        ),
        (90, 172_800, 7)
    );
    let [pager, chat] = &settings.webhooks[..] else {
        panic!("{:?}", settings.webhooks);
    };
    assert_eq!((&*pager.name, pager.kind), ("pager", WebhookKind::Standard));
    // Named by a digest of what is written; the address itself is not known yet.
    assert!(chat.name.starts_with("webhook-") && !chat.name.contains("CHAT"));
    assert!(chat.address().is_err());
    let env = |name: &str| {
        Some(match name {
            "CHAT" => "https://chat.example.com/services/T0/B0/token".to_owned(),
            _ => "whsec_MDEyMzQ1Njc4OWFiY2RlZg==".to_owned(),
        })
    };
    for secret in settings.secrets() {
        secret.resolve(&env).unwrap();
    }
    let mut faults = Vec::new();
    settings.check(&mut faults);
    assert!(faults.is_empty(), "{faults:?}");
    let address = settings.webhooks[1].address().unwrap();
    assert_eq!(address.host(), Some("chat.example.com"));
    assert!(!format!("{settings:?}").contains("T0/B0"));
}

#[test]
fn secrets_that_cannot_serve_are_faults_that_repeat_nothing() {
    let text = "[escalation]\nwebhook = [{ url = \"env:URL\", secret = \"env:KEY\" }]\n";
    let mut settings = parse(text).unwrap().escalation;
    let env = |name: &str| Some(format!("no-{name}"));
    for secret in settings.secrets() {
        secret.resolve(&env).unwrap();
    }
    let mut faults = Vec::new();
    settings.check(&mut faults);
    let told: Vec<_> = faults.iter().map(|fault| fault.message.as_str()).collect();
    insta::assert_snapshot!(told.join("\n"), @r"
    the environment variable URL holds no http(s) address
    `secret`: a key of less than 16 bytes signs nothing
    ");
}

#[test]
fn what_cannot_be_meant_is_said() {
    let text = r#"
[escalation]
wait = "48h"
expire = "0s"
waits = "5m"
webhook = [
  { url = "ftp://x", secret = "env:A" },
  { url = "https://user:pass@x/", secret = "env:A" },
  { url = "https://x" },
  { url = "https://y", kind = "slack", secret = "env:A" },
  { url = "https://z", kind = "slac" },
  { kind = "slack" },
  { url = "https://q", secret = "plain" },
]
"#;
    let faults = parse(text).unwrap_err();
    let told: Vec<_> = faults
        .0
        .iter()
        .map(|fault| format!("{}: {}", fault.line.unwrap_or(0), fault.message))
        .collect();
    insta::assert_snapshot!(told.join("\n"), @r#"
    3: `wait`: no call waits longer than 24h
    4: `expire`: this must be more than nothing
    5: unknown key `waits` in [escalation]; did you mean `wait`?
    7: `url`: this is not an http:// or https:// address
    8: `url`: this is not an http:// or https:// address
    9: this webhook needs a `secret` that signs its messages, such as "env:WEBHOOK_SECRET"
    10: a `slack` webhook is not signed; its address is its secret
    11: `kind`: `slac` is not known here; did you mean `slack`?
    11: this webhook needs a `secret` that signs its messages, such as "env:WEBHOOK_SECRET"
    12: [escalation.webhook] needs `url`
    13: `secret`: a secret is never written here; put it into an environment variable and write "env:NAME", or into a file and write "file:PATH"
    "#);
}

#[test]
fn limits_that_ask() {
    let parse = |text: &str| Policies::parse(text, Path::new("limits.toml"));
    let text = "[[limit]]\nname = \"a\"\nper = [\"task\"]\nusd = 1\non_exceed = \"escalate\"\n";
    let policies = parse(text).unwrap();
    let limit = policies.limits().next().unwrap();
    assert!(limit.escalate && !limit.observe);
    assert_eq!(limit.on_exceed(), "escalate");
    for wrong in [
        "[[limit]]\nname = \"a\"\nper = \"call\"\nusd = 1\non_exceed = \"escalate\"\n",
        "[[limit]]\nname = \"a\"\nper = \"owner\"\ntasks = 1\nwindow = { every = \"day\" }\non_exceed = \"escalate\"\n",
    ] {
        let faults = parse(wrong).unwrap_err();
        assert!(faults.0[0].message.contains("cannot escalate"), "{faults}");
    }
}

#[test]
fn reviews_are_per_task_whoever_calls() {
    let text = "[[limit]]\nname = \"review\"\nper = [\"task\"]\nreview_every = 10\n\
                [[limit]]\nname = \"closer\"\nper = [\"task\"]\nmatch = { owner = \"x\" }\nreview_every = 3\nturns = 5\n";
    let policies = Policies::parse(text, Path::new("limits.toml")).unwrap();
    assert!(policies.reviews());
    let mut facts = covers::facts();
    assert_eq!(policies.review_every(&facts), Some(("review", 10)));
    facts.owner = "x".into();
    assert_eq!(policies.review_every(&facts), Some(("closer", 3)));
    // What caps nothing makes no account.
    let mut found = Vec::new();
    policies.covers(&facts, crate::units::UnixMs(0), &mut found);
    assert_eq!(found.len(), 1);
    for wrong in [
        "per = [\"owner\"]\nwindow = { every = \"day\" }\nreview_every = 3",
        "per = [\"task\", \"agent\"]\nreview_every = 3",
        "per = [\"task\"]\nmatch = { role = \"x\" }\nreview_every = 3",
        "per = [\"task\"]\nreview_every = 0",
    ] {
        let text = format!("[[limit]]\nname = \"a\"\n{wrong}\n");
        let faults = Policies::parse(&text, Path::new("limits.toml")).unwrap_err();
        assert!(
            faults.0[0].message.starts_with("`review_every`"),
            "{faults}"
        );
    }
}

#[test]
fn a_reserve_is_kept_for_last_calls() {
    let text = "[[limit]]\nname = \"a\"\nper = [\"task\"]\nusd = \"2.00\"\nturns = 5\ntool_calls = 3\non_exceed = \"wrap_up\"\n";
    let policies = Policies::parse(text, Path::new("limits.toml")).unwrap();
    let limit = policies.limits().next().unwrap();
    assert!(policies.wraps_up());
    assert_eq!(
        (limit.on_exceed(), limit.reserve),
        ("wrap_up", Some(100_000))
    );
    let usual = limit.without_reserve(&limit.caps);
    assert_eq!(usual.0[Meter::Usd as usize], Some(1_800_000_000));
    assert_eq!(usual.0[Meter::Turns as usize], Some(4), "a whole turn");
    assert_eq!(usual.0[Meter::ToolCalls as usize], Some(3));
    for wrong in [
        "per = \"call\"\nusd = 1\non_exceed = \"wrap_up\"",
        "per = [\"task\"]\ntool_calls = 1\non_exceed = \"wrap_up\"",
        "per = [\"task\"]\nusd = 1\non_exceed = \"wrap_up\"\nreserve = 0.9",
        "per = [\"task\"]\nusd = 1\nreserve = 0.1",
        "per = [\"task\", \"tool\"]\nusd = 1\non_exceed = \"wrap_up\"",
    ] {
        let text = format!("[[limit]]\nname = \"a\"\n{wrong}\n");
        Policies::parse(&text, Path::new("limits.toml")).expect_err(wrong);
    }
}

#[test]
fn the_tree_of_agents_is_capped_per_task() {
    let text = "[[limit]]\nname = \"crew\"\nper = [\"task\"]\ndepth = 4\nfan_out = 8\n";
    let policies = Policies::parse(text, Path::new("limits.toml")).unwrap();
    assert!(policies.caps_tree());
    let limit = policies.limits().next().unwrap();
    let depth = crate::units::Meter::Depth;
    assert_eq!(limit.cap(depth), Some(4));
    assert_eq!(limit.code(depth), "limit_exceeded");
    for (wrong, says) in [
        ("per = [\"call\"]\ndepth = 1", "within a task"),
        (
            "per = [\"owner\"]\nwindow = { every = \"day\" }\nfan_out = 1",
            "within a task",
        ),
        (
            "per = [\"task\"]\nwindow = { every = \"day\" }\nfan_out = 1",
            "without a window",
        ),
        ("per = [\"task\", \"tool\"]\nfan_out = 1", "no agent"),
        ("per = [\"task\"]\ndepth = 101", "not between 0 and 100"),
        ("per = [\"task\"]\nfan_out = 2000", "not between 0 and 1024"),
    ] {
        let text = format!("[[limit]]\nname = \"a\"\n{wrong}\n");
        let faults = Policies::parse(&text, Path::new("limits.toml")).unwrap_err();
        assert!(faults.0[0].message.contains(says), "{wrong}: {faults}");
    }
}
