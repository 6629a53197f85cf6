//! Bearer tokens of a service account: an assertion signed with its key for a token that holds an hour.
//! <https://developers.google.com/identity/protocols/oauth2/service-account#httprest>
//!
//! One call at a time fetches a token. While the old one holds, the others go on with it; when it does
//! not, they wait for the new one, and share its failure.

use crate::clock;
use crate::config::ServiceAccount;
use crate::stack::upstream::{Outgoing, Pool};
use arc_swap::ArcSwapOption;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{HeaderValue, Request, header};
use http_body_util::{BodyExt, Limited};
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Instant, timeout};

/// What tokens are asked for.
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
/// How long an assertion holds, seconds: the most that is taken.
const ASSERTED_SECONDS: i64 = 3_600;
/// How long before its end a token is replaced; at most half its life.
const MARGIN: Duration = Duration::from_secs(300);
/// After a failed try, how long the old token is used before the next one.
const PAUSE: Duration = Duration::from_secs(5);
/// How long the endpoint may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest answer of the endpoint, bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Why there is no token; fit to be shown to the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoToken {
    /// The private key cannot sign.
    #[error("its service account's key cannot sign")]
    Key,
    /// Nobody answered.
    #[error("its token endpoint could not be reached")]
    Unreached,
    /// It said no, with this status and word.
    #[error("its token endpoint answered {0}{1}")]
    Refused(u16, String),
    /// Its answer holds no token.
    #[error("its token endpoint gave no token")]
    Unreadable,
}

/// A token.
#[derive(Debug)]
struct Token {
    value: HeaderValue,
    renew_at: Instant,
    ends_at: Instant,
}

/// What became of the last try.
#[derive(Debug, Default)]
struct Tried {
    failed: Option<(Instant, NoToken)>,
}

/// The tokens of one account.
pub struct Tokens {
    account: Arc<ServiceAccount>,
    key: Option<RsaKeyPair>,
    current: ArcSwapOption<Token>,
    tried: Mutex<Tried>,
}

#[derive(Deserialize)]
struct Given {
    access_token: String,
    expires_in: u64,
}

#[derive(Deserialize)]
struct Denied {
    error: String,
}

impl Tokens {
    /// None is fetched yet.
    pub fn new(account: Arc<ServiceAccount>) -> Self {
        Self {
            key: RsaKeyPair::from_pkcs8(&account.private_key).ok(),
            account,
            current: ArcSwapOption::empty(),
            tried: Mutex::default(),
        }
    }

    /// A token that holds, as the value of `Authorization`.
    ///
    /// # Errors
    /// There is none, and none could be fetched.
    pub async fn bearer(&self, pool: &Pool) -> Result<HeaderValue, NoToken> {
        let began = Instant::now();
        let current = self.current.load();
        let held = match current.as_deref() {
            Some(token) if began < token.renew_at => return Ok(token.value.clone()),
            Some(token) if began < token.ends_at => Some(&token.value),
            _ => None,
        };
        let tried = match (held, self.tried.try_lock()) {
            (_, Ok(tried)) => tried,
            (Some(value), Err(_)) => return Ok(value.clone()),
            (None, Err(_)) => self.tried.lock().await,
        };
        // Somebody else may have been here meanwhile.
        if let Some(token) = self.current.load().as_deref()
            && began < token.renew_at
        {
            return Ok(token.value.clone());
        }
        let fetched = match &tried.failed {
            Some((at, why)) if *at >= began || (held.is_some() && began < *at + PAUSE) => {
                Err(why.clone())
            }
            _ => self.renew(tried, pool).await,
        };
        match (fetched, held) {
            (Ok(value), _) => Ok(value),
            (Err(_), Some(value)) => Ok(value.clone()),
            (Err(why), None) => Err(why),
        }
    }

    /// The provider did not take the token: the next call fetches another.
    pub fn distrust(&self) {
        self.current.store(None);
    }

    async fn renew(
        &self,
        mut tried: MutexGuard<'_, Tried>,
        pool: &Pool,
    ) -> Result<HeaderValue, NoToken> {
        let fetched = timeout(PATIENCE, self.fetch(pool)).await;
        match fetched.unwrap_or(Err(NoToken::Unreached)) {
            Ok(token) => {
                let value = token.value.clone();
                self.current.store(Some(Arc::new(token)));
                tried.failed = None;
                Ok(value)
            }
            Err(why) => {
                let account = &self.account.email;
                tracing::warn!(account, error = %why, "no token for a service account");
                tried.failed = Some((Instant::now(), why.clone()));
                Err(why)
            }
        }
    }

    async fn fetch(&self, pool: &Pool) -> Result<Token, NoToken> {
        let assertion = self.assertion(clock::now().0 / 1_000)?;
        let grant = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer";
        let form = Bytes::from(format!("{grant}&assertion={assertion}"));
        let request = Request::post(self.account.token_uri.clone())
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::ACCEPT, "application/json")
            .body(Outgoing::Whole(form));
        let request = request.map_err(|_| NoToken::Unreached)?;
        let asked_at = Instant::now();
        let answer = pool.send(request).await.map_err(|_| NoToken::Unreached)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect();
        let body = body.await.map_err(|_| NoToken::Unreached)?.to_bytes();
        if !status.is_success() {
            let denied = serde_json::from_slice::<Denied>(&body).ok();
            let is_word = |word: &String| {
                word.len() <= 64 && word.bytes().all(|b| b == b'_' || b.is_ascii_alphanumeric())
            };
            let word = denied.map(|denied| denied.error).filter(is_word);
            let word = word.map_or_else(String::new, |word| format!(" ({word})"));
            return Err(NoToken::Refused(status.as_u16(), word));
        }
        let given: Given = serde_json::from_slice(&body).map_err(|_| NoToken::Unreadable)?;
        let mut value = HeaderValue::from_str(&format!("Bearer {}", given.access_token))
            .map_err(|_| NoToken::Unreadable)?;
        value.set_sensitive(true);
        let life = Duration::from_secs(given.expires_in.min(86_400));
        Ok(Token {
            value,
            renew_at: asked_at + life - MARGIN.min(life / 2),
            ends_at: asked_at + life,
        })
    }

    /// The signed assertion; `now` in seconds since the epoch.
    fn assertion(&self, now: i64) -> Result<String, NoToken> {
        let encode = |json: serde_json::Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let mut head = json!({"alg": "RS256", "typ": "JWT"});
        if let Some(id) = &self.account.key_id {
            head["kid"] = json!(id);
        }
        let claims = json!({
            "iss": self.account.email, "scope": SCOPE, "aud": self.account.token_uri.to_string(),
            "iat": now, "exp": now + ASSERTED_SECONDS,
        });
        let signed = format!("{}.{}", encode(head), encode(claims));
        let key = self.key.as_ref().ok_or(NoToken::Key)?;
        let mut signature = vec![0; key.public_modulus_len()];
        key.sign(
            &RSA_PKCS1_SHA256,
            &SystemRandom::new(),
            signed.as_bytes(),
            &mut signature,
        )
        .map_err(|_| NoToken::Key)?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

#[cfg(test)]
mod tests;
