//! `bursar route explain`: where a call would go, and why. From the configuration alone; nothing is asked
//! of a running gateway, and nothing is sent.

mod supposed;

use crate::config::{Between, Looks, Miss, Side};
use crate::gateway::routes::{Route, Target};
use crate::gateway::{Live, Provider};
use crate::price::card::Mode;
use crate::price::{Card, Kind};
use crate::stack::route;
use crate::units::NanoUsd;
use serde_json::{Value, json};
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use supposed::Supposed;

/// `bursar route`
#[derive(Clone, Debug, clap::Args)]
pub struct RouteArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Command {
    /// Show every route, why it takes a call or does not, its targets and their prices
    Explain(Box<ExplainArgs>),
}

/// `bursar route explain`
#[derive(Clone, Debug, clap::Args)]
pub struct ExplainArgs {
    /// The model that is asked for
    #[arg(long)]
    model: String,
    /// The agent's role
    #[arg(long)]
    role: Option<String>,
    /// The agent
    #[arg(long)]
    agent: Option<String>,
    /// Who calls, by name; the only identity there is, or `local`, unless said otherwise
    #[arg(long)]
    identity: Option<String>,
    /// Whom the identity belongs to, if it shall be another than configured
    #[arg(long)]
    owner: Option<String>,
    /// The task
    #[arg(long)]
    task: Option<String>,
    /// For whom it acts
    #[arg(long)]
    on_behalf_of: Option<String>,
    /// The wire format
    #[arg(long, default_value = "openai-chat")]
    dialect: String,
    /// It declares tools
    #[arg(long)]
    tools: bool,
    /// Tokens of its input
    #[arg(long, default_value = "0", value_name = "N")]
    context_tokens: u64,
    /// Output tokens to price beside them
    #[arg(long, default_value = "0", value_name = "N")]
    output_tokens: u64,
    /// The least share left of its budgets: 0.2; all of them unless said otherwise
    #[arg(long, value_name = "SHARE")]
    budget_left: Option<String>,
    /// A limit with `on_exceed = "downgrade"` is near its cap
    #[arg(long)]
    near_cap: bool,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Runs it. 78 if the configuration is at fault, 64 if the call cannot be supposed.
#[must_use]
pub fn run(args: &RouteArgs, config: &Path) -> ExitCode {
    let Command::Explain(args) = &args.command;
    let live = match super::check::ready(config) {
        Ok(live) => live,
        Err(faults) => {
            eprintln!("{faults}");
            return ExitCode::from(super::EX_CONFIG);
        }
    };
    let call = match Supposed::new(args, &live) {
        Ok(call) => call,
        Err(why) => {
            eprintln!("bursar: {why}");
            return ExitCode::from(super::EX_USAGE);
        }
    };
    let explained = Explained::new(&live, &call, args.output_tokens);
    super::book::print(|out| {
        match args.json {
            true => writeln!(out, "{}", explained.to_json())?,
            false => explained.write(out)?,
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// Where a call goes, and why.
struct Explained {
    routes: Vec<ExplainedRoute>,
    /// By which route; `None`: by the model's name.
    by: Option<String>,
    /// Where it is tried, in this order.
    goes_to: Vec<ExplainedTarget>,
    /// Why it goes nowhere.
    refused: Option<String>,
}

struct ExplainedRoute {
    name: String,
    line: usize,
    shadow: bool,
    pins: bool,
    /// Why it does not take the call.
    miss: Option<String>,
    targets: Vec<ExplainedTarget>,
    /// In which order they are tried, by their places.
    way: Vec<usize>,
}

struct ExplainedTarget {
    text: String,
    provider: String,
    model: String,
    /// In words, of all weights.
    weight: Option<String>,
    /// It is one of `downgrade`: from which share left on, if that is said.
    rung: Option<Option<u64>>,
    /// Why it is left out.
    out: Option<String>,
    /// Input and output, per million tokens.
    price: Option<[NanoUsd; 2]>,
    /// Of the tokens that were named.
    cost: Option<NanoUsd>,
}

impl Explained {
    fn new(live: &Live, call: &Supposed, output: u64) -> Self {
        let price = Price { live, call, output };
        let routes: Vec<ExplainedRoute> = live
            .routes
            .iter()
            .map(|route| ExplainedRoute::new(route, &price))
            .collect();
        let takes = |route: &&ExplainedRoute| route.miss.is_none() && !route.shadow;
        let taking = routes.iter().find(takes);
        let mut refused = None;
        let goes_to = match taking {
            Some(route) => {
                let way = route.way.iter().filter_map(|at| route.targets.get(*at));
                let into = way.filter(|target| target.out.is_none());
                let goes_to: Vec<_> = into.map(ExplainedTarget::again).collect();
                if goes_to.is_empty() {
                    refused = Some(format!("no target of `{}` takes it", route.name));
                }
                goes_to
            }
            None => match route::find(live, &call.model, call.dialect) {
                Some((provider, model)) => vec![price.at(provider, model, &call.model)],
                None => {
                    refused = Some(format!("no provider has the model `{}`", call.model));
                    Vec::new()
                }
            },
        };
        let may_use = [&*call.model, call.bare_model()].map(|name| call.identity.may_use(name));
        if may_use == [false; 2] {
            let name = &call.identity.name;
            refused = Some(format!("identity `{name}` may not use `{}`", call.model));
        }
        Self {
            by: taking.map(|route| route.name.clone()),
            routes,
            goes_to,
            refused,
        }
    }

    fn to_json(&self) -> Value {
        let routes = self.routes.iter().map(|route| {
            json!({
                "route": route.name, "line": route.line, "shadow": route.shadow, "pins": route.pins,
                "takes": route.miss.is_none(), "why_not": route.miss,
                "targets": route.targets.iter().map(ExplainedTarget::to_json).collect::<Vec<_>>(),
            })
        });
        let goes_to = self.goes_to.iter().map(ExplainedTarget::to_json);
        json!({
            "route": self.by,
            "goes_to": goes_to.collect::<Vec<_>>(),
            "refused": self.refused,
            "routes": routes.collect::<Vec<_>>(),
        })
    }

    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        for route in &self.routes {
            let shadow = match (route.shadow, route.pins) {
                (true, _) => ", in shadow",
                (false, true) => ", holds a task to the first that answers",
                (false, false) => "",
            };
            let verdict = match &route.miss {
                None => "takes it".to_owned(),
                Some(why) => format!("does not take it: {why}"),
            };
            writeln!(
                out,
                "{} (line {}{shadow}): {verdict}",
                route.name, route.line
            )?;
            for target in &route.targets {
                writeln!(out, "    {}", target.line())?;
            }
        }
        match &self.by {
            Some(name) => writeln!(out, "by route `{name}` it goes to")?,
            None => writeln!(out, "no route takes it; by the model's name it goes to")?,
        }
        for (i, target) in self.goes_to.iter().enumerate() {
            writeln!(out, "    {}. {}", i + 1, target.line())?;
        }
        match &self.refused {
            Some(why) => writeln!(out, "it is refused: {why}"),
            None => Ok(()),
        }
    }
}

impl ExplainedRoute {
    fn new(route: &Route, price: &Price<'_>) -> Self {
        let miss = route.rule.matches.look(price.call).err();
        let all: u64 = route
            .targets
            .iter()
            .filter_map(|target| target.weight)
            .sum();
        let target = |target: &Target| {
            let model = match &target.model {
                crate::config::TargetModel::Named(model) => model,
                crate::config::TargetModel::AsAsked => price.call.bare_model(),
            };
            let weight = target
                .weight
                .map(|weight| format!("weight {weight} of {all}"));
            ExplainedTarget {
                weight,
                ..price.at(&target.provider, model, &target.text)
            }
        };
        let rung = route.rung(&price.call.left());
        let way = (0..route.places(rung)).map(|at| route.place(at, 0, rung));
        let mut targets: Vec<ExplainedTarget> = route.targets.iter().map(target).collect();
        let cheaper = targets.len() - route.rule.downgrade.len().min(targets.len());
        for (target, rung) in targets.iter_mut().skip(cheaper).zip(&route.rule.downgrade) {
            target.rung = Some(rung.under);
        }
        Self {
            way: way.collect(),
            name: route.rule.name.to_string(),
            line: route.rule.place.line,
            shadow: route.rule.shadow,
            pins: route.rule.pins,
            miss: miss.map(|miss| why_not(route, price.call, miss)),
            targets,
        }
    }
}

/// Why a route does not take a call.
fn why_not(route: &Route, call: &Supposed, miss: Miss) -> String {
    let matches = &route.rule.matches;
    match miss {
        Miss::Side(side) => {
            let globs = matches
                .sides
                .on(side)
                .into_iter()
                .flat_map(|globs| globs.iter());
            let wanted: Vec<String> = globs.map(|glob| format!("`{}`", glob.as_str())).collect();
            let (side, wanted) = (words(side), wanted.join(", "));
            match call.text(side.0) {
                Some(text) => format!("its {} is `{text}`, not {wanted}", side.1),
                None => format!("it has no {}, and {wanted} is wanted", side.1),
            }
        }
        Miss::Kind => {
            let kinds: Vec<&str> = matches.kinds.iter().map(|kind| kind.name()).collect();
            format!("it is for {}, not {}", call.kind().name(), kinds.join(", "))
        }
        Miss::Tools => match call.has_tools() {
            true => "it declares tools".to_owned(),
            false => "it declares no tools".to_owned(),
        },
        Miss::ContextTokens(tokens) => {
            let wanted = between(matches.context_tokens, |tokens| tokens.to_string());
            format!("its input is of {tokens} tokens, not {wanted}")
        }
        Miss::BudgetLeft(left) => {
            let wanted = between(matches.budget_left, share);
            format!("{} of its budget is left, not {wanted}", share(left))
        }
        Miss::BudgetUnknown => "nobody knows what is left of its budget".to_owned(),
    }
}

const fn words(side: Side) -> (Side, &'static str) {
    let name = match side {
        Side::OnBehalfOf => "person",
        side => side.name(),
    };
    (side, name)
}

fn between(between: Option<Between>, shown: impl Fn(u64) -> String) -> String {
    let Between { over, under } = between.unwrap_or_default();
    let over = over.map(|over| format!("over {}", shown(over)));
    let under = under.map(|under| format!("at most {}", shown(under)));
    let both: Vec<String> = over.into_iter().chain(under).collect();
    both.join(" and ")
}

/// Parts per million as a share.
fn share(millionths: u64) -> String {
    let digits = format!("{}.{:06}", millionths / 1_000_000, millionths % 1_000_000);
    digits
        .trim_end_matches('0')
        .trim_end_matches('.')
        .to_owned()
}

/// Looks prices up.
struct Price<'a> {
    live: &'a Live,
    call: &'a Supposed,
    output: u64,
}

impl Price<'_> {
    fn at(&self, provider: &Provider, model: &str, text: &str) -> ExplainedTarget {
        let dialect = self.call.dialect;
        let out = match provider.lacks_key() {
            _ if !provider.takes(dialect) => Some(format!("does not take {}", dialect.name())),
            Some(kept) => Some(format!("has no key: {kept} is not set")),
            None => None,
        };
        let card = self.live.catalogue.find(provider.family(), model).ok();
        let ceiling = provider.config.ceiling;
        let ceiling = ceiling.map(|ceiling| [ceiling.input, ceiling.output]);
        let input = self.call.context_tokens;
        let price = card.as_deref().map(|card| rates(card, input)).or(ceiling);
        ExplainedTarget {
            text: text.to_owned(),
            provider: provider.name.as_str().to_owned(),
            model: model.to_owned(),
            weight: None,
            rung: None,
            out,
            price,
            cost: price
                .filter(|_| input + self.output > 0)
                .map(|price| cost(price, [input, self.output])),
        }
    }
}

fn rates(card: &Card, input: u64) -> [NanoUsd; 2] {
    let now = crate::clock::now();
    let plain = |mode: &Mode| mode.service_tier.is_none() && mode.speed.is_none() && !mode.batch;
    let (rates, factor) = card.rates(input, |mode| plain(mode) && mode.holds_at(Some(now)));
    [Kind::Input, Kind::Output].map(|kind| NanoUsd(factor.of(rates.of(kind))))
}

fn cost(price: [NanoUsd; 2], tokens: [u64; 2]) -> NanoUsd {
    let sides = price.into_iter().zip(tokens);
    let sum: u128 = sides
        .map(|(price, tokens)| u128::from(price.0) * u128::from(tokens))
        .sum();
    NanoUsd(u64::try_from(sum.div_ceil(1_000_000)).unwrap_or(u64::MAX))
}

impl ExplainedTarget {
    fn again(&self) -> Self {
        Self {
            text: self.text.clone(),
            provider: self.provider.clone(),
            model: self.model.clone(),
            weight: self.weight.clone(),
            out: self.out.clone(),
            ..*self
        }
    }

    fn line(&self) -> String {
        let mut line = format!("{}/{}", self.provider, self.model);
        let price = match self.price {
            Some([input, output]) => format!("${input} in, ${output} out per million tokens"),
            None => "no price is known".to_owned(),
        };
        let cost = self.cost.map(|cost| format!("${cost} for this call"));
        let rung = self.rung.map(|under| match under {
            Some(under) => format!("once {} of a budget is left", share(under)),
            None => "near a cap that downgrades".to_owned(),
        });
        let rest = [
            self.weight.clone(),
            rung,
            Some(price),
            cost,
            self.out.clone(),
        ];
        for part in rest.into_iter().flatten() {
            line.push_str(", ");
            line.push_str(&part);
        }
        line
    }

    fn to_json(&self) -> Value {
        json!({
            "target": self.text, "provider": self.provider, "model": self.model,
            "weight": self.weight, "left_out": self.out,
            "downgrade": self.rung.is_some(), "under": self.rung.flatten().map(share),
            "usd_per_million": self.price.map(|[input, output]| {
                json!({"input": input.to_string(), "output": output.to_string()})
            }),
            "usd": self.cost.map(|cost| cost.to_string()),
        })
    }
}
