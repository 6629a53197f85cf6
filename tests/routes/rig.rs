//! A gateway before two providers.

use crate::common::books;
use crate::common::calls::{Ask, Caller, Reply};
use crate::common::gateway::Gateway;
use crate::common::setup::Setup;
use crate::common::until;
use bursar::sim::{Settings, Sim};
use bursar::store::{CallBody, Kind, Reader};
use std::fmt::Write as _;
use std::process::Command;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

/// The providers `sim` (and `sim-anthropic`) and `second`, each with a bill.
pub struct Rig {
    pub first: Sim,
    pub second: Sim,
    pub gateway: Gateway,
}

/// One call of the journal, as far as routes have a part in it.
#[derive(Debug)]
pub struct Went {
    pub provider: String,
    pub model: String,
    pub asked: String,
    pub route: String,
    /// Where it would have gone, and at what cost.
    pub shadow: Option<(String, Option<u64>)>,
}

impl Rig {
    pub async fn start(routes: &str, limits: &str) -> Self {
        Self::start_with(routes, limits, |setup| setup).await
    }

    pub async fn start_with(routes: &str, limits: &str, more: impl FnOnce(Setup) -> Setup) -> Self {
        let first = Sim::start(Settings::default()).await.expect("a simulation");
        let second = Sim::start(Settings::default()).await.expect("a simulation");
        let mut provider = String::from("[[provider]]\nname = \"second\"\nkind = \"openai\"\n");
        let _ = writeln!(
            provider,
            "base_url = \"http://{}/v1\"\nmodels = [\"other-*\"]\nforward_attribution = true\n\
             unmetered = [\"/v1/files\", \"/v1/conversations\"]",
            second.addr()
        );
        let setup = Setup::new(first.addr())
            .more(&provider)
            .routes(routes)
            .limits(limits);
        Self {
            gateway: Gateway::start(&more(setup)).await,
            first,
            second,
        }
    }

    pub fn caller(&self, task: &str, role: &str) -> Caller {
        let caller = self.gateway.caller(task);
        match role {
            "" => caller,
            role => caller.header("x-bursar-agent-role", role),
        }
    }

    /// Calls in this role, and says who answered: `provider/model`.
    pub async fn say(&self, task: &str, role: &str, ask: &Ask) -> String {
        let before = self.billed();
        let reply = self.caller(task, role).call(ask).await.expect("an answer");
        self.who(before, &reply)
    }

    /// Who answered since.
    pub fn who(&self, before: [u64; 2], reply: &Reply) -> String {
        if let Some(code) = reply.refusal() {
            return code;
        }
        let after = self.billed();
        let name = match (after[0] > before[0], after[1] > before[1]) {
            (true, false) => "sim",
            (false, true) => "second",
            moved => panic!("one of them answers: {moved:?}"),
        };
        let model = reply.header("x-bursar-model").expect("a model");
        format!("{name}/{model}")
    }

    /// What each has billed, nano-dollars.
    pub fn billed(&self) -> [u64; 2] {
        [&self.first, &self.second].map(|sim| sim.bill().total_nano_usd)
    }

    /// What the journal says of a call.
    pub fn went(&self, request: &str) -> Went {
        let reader = Reader::open(&self.gateway.store()).expect("a store");
        let mut found = None;
        let read = reader.rows(0, |row| {
            if row.kind == Kind::Call.name() {
                let body = CallBody::read(row.at, row.entry)?;
                if body.request.as_str() == request {
                    let text = |text: &Option<bursar::store::Text<'_>>| {
                        text.as_ref().map_or("", |text| text.as_str()).to_owned()
                    };
                    found = Some(Went {
                        provider: text(&body.provider),
                        model: body.model.as_str().to_owned(),
                        asked: text(&body.asked),
                        route: text(&body.route),
                        shadow: body
                            .shadow
                            .as_ref()
                            .map(|_| (text(&body.shadow_to), body.shadow_usd)),
                    });
                }
            }
            Ok(true)
        });
        read.expect("a journal");
        found.expect("an entry")
    }

    /// A task as operators see it.
    pub async fn show(&self, task: &str) -> serde_json::Value {
        let request = http::Request::get(format!("{}/api/tasks/{task}", self.gateway.ops))
            .header("authorization", "Bearer t0ken")
            .body(http_body_util::Full::default())
            .expect("a request");
        let sent = crate::common::calls::Http::new().send(request).await;
        Reply::read(sent.expect("sent")).await.expect("read").json()
    }

    /// The journal charges what both bills come to, and it verifies.
    pub async fn settles(&mut self) {
        self.gateway.quiet().await;
        assert!(self.gateway.stop().await.success());
        let store = self.gateway.store();
        let charged: u64 = (books::calls(&store).iter())
            .map(|call| call.charged[bursar::units::Meter::Usd])
            .sum();
        assert_eq!(charged, self.billed().iter().sum::<u64>());
        books::verify(&store);
    }

    /// Writes other routes and waits until the gateway has looked at them; says how that ended.
    pub async fn reload(&self, routes: &str, result: &str) {
        let name = format!("bursar_config_reloads_total{{result=\"{result}\"}}");
        let reloads = || async { self.gateway.metrics().await.get(&name) };
        let before = reloads().await;
        let policies = self.gateway.dir().join("policies/routes.toml");
        std::fs::write(policies, routes).expect("a file");
        let sent = Command::new("kill")
            .args(["-HUP", &self.gateway.pid().to_string()])
            .status();
        assert!(sent.expect("kill").success());
        until("the reload is over", PATIENCE, || async {
            (reloads().await > before).then_some(())
        })
        .await;
    }
}
