#![allow(clippy::unwrap_used, reason = "a test may panic")]

use super::*;
use crate::sim::{Settings, Sim};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeySize, PrivateDecryptingKey};
use aws_lc_rs::signature::{KeyPair, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use std::sync::OnceLock;

fn key() -> &'static [u8] {
    static KEY: OnceLock<Vec<u8>> = OnceLock::new();
    KEY.get_or_init(|| {
        let key = PrivateDecryptingKey::generate(KeySize::Rsa2048).unwrap();
        AsDer::<Pkcs8V1Der<'_>>::as_der(&key)
            .unwrap()
            .as_ref()
            .to_vec()
    })
}

fn tokens(name: &str, token_uri: &str) -> Tokens {
    Tokens::new(Arc::new(ServiceAccount {
        email: format!("{name}@p.iam.gserviceaccount.com"),
        project: Some("p".to_owned()),
        token_uri: token_uri.parse().unwrap(),
        key_id: Some("k1".to_owned()),
        private_key: key().to_vec(),
    }))
}

fn pool() -> Pool {
    Pool::new(None, None, Duration::from_secs(5), 4).unwrap()
}

async fn sim() -> (Sim, String) {
    let sim = Sim::start(Settings::default()).await.unwrap();
    let uri = format!("http://{}/token", sim.addr());
    (sim, uri)
}

#[test]
fn an_assertion_is_signed_by_the_accounts_key() {
    let tokens = tokens("a", "https://oauth2.example.com/token");
    let assertion = tokens.assertion(1_000).unwrap();
    let (signed, signature) = assertion.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let public = RsaKeyPair::from_pkcs8(key())
        .unwrap()
        .public_key()
        .as_ref()
        .to_vec();
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public)
        .verify(signed.as_bytes(), &signature)
        .unwrap();
    let parts: Vec<serde_json::Value> = signed
        .split('.')
        .map(|part| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap())
        .collect();
    assert_eq!(parts[0], json!({"alg": "RS256", "typ": "JWT", "kid": "k1"}));
    assert_eq!(
        parts[1],
        json!({"iss": "a@p.iam.gserviceaccount.com", "scope": SCOPE, "iat": 1_000, "exp": 4_600,
            "aud": "https://oauth2.example.com/token"})
    );
}

#[tokio::test]
async fn a_hundred_calls_at_once_fetch_one_token() {
    let (sim, uri) = sim().await;
    let (tokens, pool) = (tokens("a", &uri), pool());
    let calls = (0..100).map(|_| tokens.bearer(&pool));
    let given = futures_util::future::join_all(calls).await;
    let first = given[0].clone().unwrap();
    assert!(first.is_sensitive());
    assert!(given.iter().all(|value| value.as_ref() == Ok(&first)));
    assert_eq!(sim.tokens_given(), 1);
    tokens.distrust();
    assert_ne!(tokens.bearer(&pool).await.unwrap(), first);
    assert_eq!(sim.tokens_given(), 2);
}

#[tokio::test]
async fn a_token_is_replaced_before_it_ends() {
    let (sim, uri) = sim().await;
    let (tokens, pool) = (tokens("short", &uri), pool());
    let first = tokens.bearer(&pool).await.unwrap();
    assert_eq!(tokens.bearer(&pool).await.unwrap(), first);
    // It holds for two seconds, and half of its life is the margin.
    let until = Instant::now() + Duration::from_secs(20);
    while tokens.bearer(&pool).await.unwrap() == first {
        assert!(Instant::now() < until, "never replaced");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(sim.tokens_given() >= 2);
}

#[tokio::test]
async fn failures_are_told_and_shared() {
    let (sim, uri) = sim().await;
    let pool = pool();
    let broken = tokens("broken", &uri);
    let given = futures_util::future::join_all((0..8).map(|_| broken.bearer(&pool))).await;
    let refused = NoToken::Refused(400, " (invalid_grant)".to_owned());
    assert!(
        given.iter().all(|value| value.as_ref() == Err(&refused)),
        "{given:?}"
    );
    let down = tokens("down", &uri).bearer(&pool).await;
    let refused = NoToken::Refused(503, " (internal_failure)".to_owned());
    assert_eq!(down, Err(refused));
    let nobody = tokens("a", "http://127.0.0.1:1/token").bearer(&pool).await;
    assert_eq!(nobody, Err(NoToken::Unreached));
    assert_eq!(sim.tokens_given(), 0);
}
