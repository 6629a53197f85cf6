use super::*;

fn endpoint_of(path: &str) -> Option<Endpoint> {
    read(path, false).map(|target| target.endpoint)
}

#[test]
fn every_spelling_of_a_metered_path_is_metered() {
    for path in [
        "/v1/chat/completions",
        "//v1/chat/completions",
        "/v1//chat/completions/",
        "/v1/chat%2dcompletions/../",
        "/v1/%63hat/completions",
        "/openai/v1/chat/completions",
        "/openai/deployments/my-gpt/chat/completions",
        "/task/t1/v1/chat/completions",
    ] {
        let found = endpoint_of(path);
        assert!(
            found.is_none() || found == Some(Endpoint::Metered(Dialect::OpenaiChat)),
            "{path}: {found:?}"
        );
    }
    assert_eq!(
        endpoint_of("/v1/%63hat/completions"),
        Some(Endpoint::Metered(Dialect::OpenaiChat))
    );
    assert_eq!(endpoint_of("/v1/chat%2Fcompletions"), None);
    assert_eq!(endpoint_of("/v1/x/../chat/completions"), None);
}

#[test]
fn ids_in_the_path_are_read_in_any_order_and_taken_out() {
    let target = read("/agent/a%201/task/t/role/r/v1/messages", false).unwrap();
    assert_eq!(
        target.endpoint,
        Endpoint::Metered(Dialect::AnthropicMessages)
    );
    assert_eq!(target.suffix, "/messages");
    assert_eq!(target.ids.task.as_deref(), Some("t"));
    assert_eq!(target.ids.agent.as_deref(), Some("a 1"));
    assert_eq!(target.ids.role.as_deref(), Some("r"));
}

#[test]
fn azure_names_its_deployment() {
    let target = read("/openai/deployments/d1/embeddings", false).unwrap();
    assert_eq!(
        target.endpoint,
        Endpoint::Metered(Dialect::OpenaiEmbeddings)
    );
    assert_eq!(target.ids.deployment.as_deref(), Some("d1"));
}

#[test]
fn models_may_hold_slashes_and_other_paths_are_other() {
    let target = read("/v1/models/meta-llama/llama-3", true).unwrap();
    assert_eq!(
        target.endpoint,
        Endpoint::Models(Some("meta-llama/llama-3".to_owned()))
    );
    assert_eq!(endpoint_of("/v1/files"), Some(Endpoint::Other));
    assert_eq!(endpoint_of("/"), Some(Endpoint::Unknown));
    assert_eq!(endpoint_of("/v1/%zz"), None);
}
