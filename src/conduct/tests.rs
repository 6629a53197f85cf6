use super::*;

fn named(name: &str) -> Who {
    Who::Named(name.into())
}

fn bad() -> End {
    End::Malformed {
        what: "the arguments of tool `t` break `required`".into(),
        traces: vec![b"call_12345678".as_slice().into()],
    }
}

const FROM: Thresholds = Thresholds {
    malformed: Some(3),
    failures: Some(4),
    children: Some(2),
};

fn ends(conduct: &mut Conduct, who: &Who, ends: &[End]) {
    for (number, end) in ends.iter().enumerate() {
        let call: Arc<str> = format!("r{number}").into();
        conduct.ended(who, None, end, &call);
    }
}

#[test]
fn so_many_malformed_answers_in_a_row_stand_out_once() {
    let (mut conduct, who) = (Conduct::default(), named("a"));
    ends(&mut conduct, &who, &[bad(), bad()]);
    assert_eq!(conduct.judge(&who, &FROM), None);
    ends(&mut conduct, &who, &[bad()]);
    let found = conduct.judge(&who, &FROM).unwrap();
    assert_eq!(
        (found.kind, found.count, found.first),
        (Kind::Malformed, 3, true)
    );
    assert_eq!(found.calls.len(), 3);
    assert!(!conduct.judge(&who, &FROM).unwrap().first);
    assert_eq!(conduct.judge(&named("b"), &FROM), None);
}

#[test]
fn a_good_answer_in_between_starts_anew() {
    let (mut conduct, who) = (Conduct::default(), named("a"));
    ends(&mut conduct, &who, &[bad(), bad(), End::Good, bad(), bad()]);
    assert_eq!(conduct.judge(&who, &FROM), None);
    ends(&mut conduct, &who, &[End::Good]);
    assert!(conduct.is_empty());
}

#[test]
fn failures_of_all_kinds_add_up_and_malformed_ones_alone_count_as_such() {
    let (mut conduct, who) = (Conduct::default(), Who::Like(7));
    let failed = || End::Failed("reset".into());
    ends(
        &mut conduct,
        &who,
        &[bad(), failed(), bad(), End::Refused("x".into())],
    );
    assert_eq!(conduct.judge(&who, &FROM), None);
    ends(&mut conduct, &who, &[failed()]);
    let found = conduct.judge(&who, &FROM).unwrap();
    assert_eq!((found.kind, found.count), (Kind::Failures, 4));
}

#[test]
fn an_answer_that_nobody_can_judge_ends_a_row_of_failures_alone() {
    let (mut conduct, who) = (Conduct::default(), named("a"));
    let failed = || End::Failed("reset".into());
    ends(&mut conduct, &who, &[bad(), bad(), failed(), End::Answered]);
    assert_eq!(conduct.failed().count(), 0);
    ends(&mut conduct, &who, &[failed(), bad()]);
    assert_eq!(conduct.judge(&who, &FROM).unwrap().kind, Kind::Malformed);
    let other = named("b");
    ends(&mut conduct, &other, &[failed(), End::Answered]);
    assert_eq!(conduct.agents.len(), 1);
}

#[test]
fn failed_children_stand_out_with_their_parent() {
    let mut conduct = Conduct::default();
    let (boss, call) = (AgentId::from("boss"), Arc::from("r"));
    let failed = End::Failed("timeout".into());
    for child in ["x", "y"] {
        conduct.ended(&named(child), Some(&boss), &failed, &call);
    }
    let found = conduct.judge(&named("boss"), &FROM).unwrap();
    assert_eq!(
        (found.kind, found.count, found.first),
        (Kind::Children, 2, true)
    );
    assert_eq!(&*found.what, "agent `x`, agent `y`");
    // One of them came round.
    conduct.ended(&named("y"), Some(&boss), &End::Good, &call);
    assert_eq!(conduct.judge(&named("boss"), &FROM), None);
}

#[test]
fn who_was_handed_what_a_tripped_agent_said_is_told_once() {
    let mut conduct = Conduct::default();
    let (boss, call) = (AgentId::from("boss"), Arc::from("r"));
    let request = br#"{"messages":[{"role":"tool","tool_call_id":"call_12345678"}]}"#;
    let writer = AgentId::from("writer");
    for _ in 0..3 {
        conduct.ended(&named("a"), Some(&boss), &bad(), &call);
        assert_eq!(conduct.handed_on(&writer, request), []);
    }
    conduct.judge(&named("a"), &FROM).unwrap();
    assert_eq!(conduct.handed_on(&writer, b"{}"), []);
    let found = conduct.handed_on(&writer, request);
    assert_eq!(
        (found.len(), &found[0].from, found[0].calls.len()),
        (1, &named("a"), 3)
    );
    for other in [writer, boss, AgentId::from("a")] {
        assert_eq!(conduct.handed_on(&other, request), []);
    }
}

#[test]
fn memory_is_bounded() {
    let mut conduct = Conduct::default();
    for number in 0..1_000 {
        let who = named(&format!("agent-{number}"));
        ends(&mut conduct, &who, &vec![bad(); 20]);
    }
    assert_eq!(conduct.agents.len(), MOST_AGENTS);
    let newest = named("agent-999");
    let found = conduct.judge(&newest, &FROM).unwrap();
    assert_eq!((found.count, found.calls.len()), (20, MOST_CALLS));
}
