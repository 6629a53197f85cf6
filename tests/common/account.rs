//! A service account of Google's cloud, with a key that was made for this run.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeySize, PrivateDecryptingKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use std::net::SocketAddr;
use std::sync::OnceLock;

/// A service account's key file, on one line.
pub fn of(name: &str, addr: SocketAddr) -> String {
    static KEY: OnceLock<String> = OnceLock::new();
    let key = KEY.get_or_init(|| {
        let key = PrivateDecryptingKey::generate(KeySize::Rsa2048).expect("a key");
        let der = AsDer::<Pkcs8V1Der<'_>>::as_der(&key).expect("DER");
        let lines = STANDARD.encode(der.as_ref());
        format!("-----BEGIN PRIVATE KEY-----\n{lines}\n-----END PRIVATE KEY-----\n")
    });
    json!({
        "type": "service_account", "project_id": "p-1", "private_key_id": "k1", "private_key": key,
        "client_email": format!("{name}@p-1.iam.gserviceaccount.com"),
        "token_uri": format!("http://{addr}/token"),
    })
    .to_string()
}
