//! How people hear: signed webhooks and a chat's, again and again until they arrive.

use super::receiver::{Message, Receiver, hmac_sha256};
use super::rig::{PATIENCE, Scene};
use crate::common::calls::Ask;
use crate::common::until;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

const KEY: &[u8] = b"0123456789abcdef0123456789abcdef";

fn webhooks(receiver: &Receiver) -> String {
    format!(
        "[escalation]\nwebhook = [\n  {{ name = \"pager\", url = \"http://{0}/pager\", secret = \"env:PAGER\" }},\n  \
         {{ url = \"env:CHAT\", kind = \"slack\" }},\n]",
        receiver.addr
    )
}

async fn scene(receiver: &Receiver) -> Scene {
    let more = webhooks(receiver);
    let secret = format!("whsec_{}", STANDARD.encode(KEY));
    let chat = format!("http://{}/chat", receiver.addr);
    Scene::with(|setup| setup.more(&more).env("PAGER", &secret).env("CHAT", &chat)).await
}

async fn messages(receiver: &Receiver, path: &str, count: usize) -> Vec<Message> {
    until("messages", PATIENCE, || async {
        let mut messages = receiver.messages();
        messages.retain(|message| message.path == path);
        (messages.len() >= count).then_some(messages)
    })
    .await
}

fn check_signature(message: &Message) {
    let signed = format!(
        "{}.{}.{}",
        message.header("webhook-id"),
        message.header("webhook-timestamp"),
        message.body
    );
    let tag = hmac_sha256(KEY, signed.as_bytes());
    let expected = format!("v1,{}", STANDARD.encode(tag));
    assert_eq!(message.header("webhook-signature"), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signed_events_and_a_line_of_chat() {
    let receiver = Receiver::start(&[]).await;
    let scene = scene(&receiver).await;
    scene.spend_the_turn("t").await;
    let mut ask = Ask::chat("sim-cheap");
    ask.text = "SECRET-PROMPT".to_owned();
    let call = scene.call("t", &ask);
    let opened = messages(&receiver, "/pager", 1).await.remove(0);
    check_signature(&opened);
    let event = opened.json();
    assert_eq!(event["type"], "escalation.opened");
    let id = event["data"]["id"].as_str().unwrap().to_owned();
    assert_eq!(event["data"]["task"], "t");
    assert_eq!(event["data"]["state"], "waiting");
    let chat = messages(&receiver, "/chat", 1).await.remove(0);
    let text = chat.json()["text"].as_str().unwrap().to_owned();
    assert!(
        text.contains(&format!("bursar escalation approve {id}")),
        "{text}"
    );
    assert!(!chat.headers.contains_key("webhook-signature"));
    // The receiver itself decides.
    scene.approve(&id, json!({"turns": 1, "by": "pager"})).await;
    assert!(call.await.unwrap().status.is_success());
    let approved = messages(&receiver, "/pager", 2).await.remove(1);
    check_signature(&approved);
    assert_eq!(approved.json()["type"], "escalation.approved");
    assert_eq!(approved.json()["data"]["decision"]["by"], "ops:pager");
    for message in receiver.messages() {
        assert!(!message.body.contains("SECRET-PROMPT"));
        assert!(!message.body.contains("whsec_"));
    }
    assert!(
        !scene.gateway.log().contains("/chat"),
        "its address is a secret"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_are_tried_again_under_the_same_id_and_redirects_not_followed() {
    let receiver = Receiver::start(&[500, 302]).await;
    let more = format!(
        "[escalation]\nwebhook = [{{ url = \"http://{}/pager\", secret = \"env:PAGER\" }}]",
        receiver.addr
    );
    let secret = format!("whsec_{}", STANDARD.encode(KEY));
    let scene = Scene::with(|setup| setup.more(&more).env("PAGER", &secret)).await;
    scene.spend_the_turn("t").await;
    let call = scene.call("t", &Ask::chat("sim-cheap"));
    let tries = messages(&receiver, "/pager", 3).await;
    for again in &tries {
        check_signature(again);
        assert_eq!(again.header("webhook-id"), tries[0].header("webhook-id"));
    }
    assert!(
        receiver
            .messages()
            .iter()
            .all(|message| message.path == "/pager")
    );
    call.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_receiver_and_a_crash_lose_nothing() {
    // A port on which nobody listens, until later.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = taken.local_addr().expect("an address");
    drop(taken);
    let more = format!(
        "[escalation]\nwebhook = [{{ url = \"http://{addr}/pager\", secret = \"env:PAGER\" }}]"
    );
    let secret = format!("whsec_{}", STANDARD.encode(KEY));
    let mut scene = Scene::with(|setup| setup.more(&more).env("PAGER", &secret)).await;
    scene.spend_the_turn("t").await;
    let caller = scene.gateway.caller("t");
    let call = tokio::spawn(async move { caller.call(&Ask::chat("sim-cheap")).await });
    let id = scene.question("t").await;
    until("a failed try", PATIENCE, || async {
        let tries = scene.gateway.metrics().await;
        (tries.get("bursar_webhook_tries_total{result=\"failed\"}") > 0.5).then_some(())
    })
    .await;
    scene.gateway.kill();
    drop(call.await);
    let listener = tokio::net::TcpListener::bind(addr).await.expect("the port");
    let receiver = Receiver::on(listener, &[]);
    scene.gateway.start_again().await;
    let message = messages(&receiver, "/pager", 1).await.remove(0);
    check_signature(&message);
    assert_eq!(message.json()["data"]["id"], id.as_str());
}
