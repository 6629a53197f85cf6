//! `bursar demo`: a gateway, simulated providers with a bill of their own, and a small company of
//! agents, one of which runs away. Nothing is configured, nothing leaves this machine, nothing stays.
//!
//! The figures are the gateway's own (its ledger, `GET /v1/budget`) and the providers' (their bill).

mod agent;
mod board;
mod company;
mod outcome;
mod wire;
mod world;

use agent::{Agent, State};
use board::{Board, Books, Show};
use outcome::Outcome;
use std::io::{self, IsTerminal as _, Write};
use std::process::ExitCode;
use std::time::Duration;
use tokio::time::Instant;
use wire::{Wire, WireError};
use world::World;

/// How much longer than asked for a run may take before it is given up: a busy machine is slow.
const PATIENCE: Duration = Duration::from_secs(120);

/// Exit code of a demo that was ended before its end (128 + SIGINT).
const INTERRUPTED: u8 = 130;

/// `bursar demo`
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct DemoArgs {
    /// About how long the company works
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
    /// Go on serving afterwards, until Ctrl-C
    #[arg(long)]
    hold: bool,
    /// Print nothing but a summary in JSON at the end
    #[arg(long)]
    json: bool,
}

/// Runs the demo. Exit code 1 if a bill is above a cap.
#[must_use]
pub fn run(args: &DemoArgs) -> ExitCode {
    let ended = super::runtime()
        .map_err(WireError::from)
        .and_then(|runtime| runtime.block_on(demo(args)));
    match ended {
        Ok(Some(true)) => ExitCode::SUCCESS,
        Ok(Some(false)) => ExitCode::FAILURE,
        Ok(None) => ExitCode::from(INTERRUPTED),
        // Whoever read along has seen enough.
        Err(error) if is_broken_pipe(&*error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bursar demo: {error}");
            ExitCode::from(super::EX_UNAVAILABLE)
        }
    }
}

fn is_broken_pipe(error: &(dyn std::error::Error + 'static)) -> bool {
    let io = error.downcast_ref::<io::Error>();
    io.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Whether everything held; `None` if somebody ended it first.
async fn demo(args: &DemoArgs) -> Result<Option<bool>, WireError> {
    let world = World::start(args.seconds).await?;
    let mut ended = tokio::select! {
        held = work(args, &world) => held.map(Some),
        stopped = crate::sim::asked_to_end() => stopped.map(|()| None).map_err(WireError::from),
    };
    if args.hold && matches!(ended, Ok(Some(_))) {
        let stopped = hold(args, &world).await;
        ended = stopped.and(ended);
    }
    // However it ended, the world is taken down in order, and its folder with it.
    world.stop().await;
    ended
}

/// Goes on serving until somebody ends it.
async fn hold(args: &DemoArgs, world: &World) -> Result<(), WireError> {
    if !args.json {
        io::stdout().write_all(try_it(world).as_bytes())?;
    }
    Ok(crate::sim::asked_to_end().await?)
}

async fn work(args: &DemoArgs, world: &World) -> Result<bool, WireError> {
    let mut out = io::stdout();
    let wire = Wire::new(&world.running.agents);
    let mut agents = Vec::new();
    for work in company::COMPANY {
        agents.extend(work.crew.map(|member| Agent::new(work.task, member)));
    }
    if !args.json {
        out.write_all(greeting(world).as_bytes())?;
    }
    let begun = Instant::now();
    watch(args, world, &wire, &agents).await?;
    let seconds = begun.elapsed().as_secs_f64();
    let outcome = Outcome::of(world, &wire, &agents).await?;
    let failed = agents
        .iter()
        .any(|agent| matches!(agent.state(), State::Failed(_)));
    let held = outcome.is_never_above() && outcome.is_equal() && !failed;
    if args.json {
        let books = Books::of(world.gateway());
        writeln!(out, "{}", outcome.json(&agents, &books, seconds))?;
    } else {
        out.write_all(farewell(&outcome, &agents).as_bytes())?;
    }
    out.flush()?;
    Ok(held)
}

/// Lets the company work, and shows it, until everybody is done or stopped.
async fn watch(
    args: &DemoArgs,
    world: &World,
    wire: &Wire,
    agents: &[Agent],
) -> Result<(), WireError> {
    let run = Duration::from_secs(args.seconds.into());
    let begun = Instant::now();
    let mut crew = tokio::task::JoinSet::new();
    for agent in agents {
        crew.spawn(agent.clone().work(wire.clone(), run));
    }
    let mut out = io::stdout();
    let mut board = Board::new(how_to_show(args, out.is_terminal()));
    let mut looks = tokio::time::interval_at(board.first_look(), board.pause());
    let given_up = tokio::time::sleep(run * 2 + PATIENCE);
    tokio::pin!(given_up);
    loop {
        tokio::select! {
            joined = crew.join_next() => match joined {
                None => break,
                Some(joined) => joined?,
            },
            _ = looks.tick() => board.show(&mut out, begun.elapsed(), world.gateway(), agents)?,
            () = &mut given_up => return Err("the company did not come to an end".into()),
        }
    }
    at_rest(world).await?;
    Ok(board.show(&mut out, begun.elapsed(), world.gateway(), agents)?)
}

/// An answer's last byte reaches the agent a moment before its hold is settled.
async fn at_rest(world: &World) -> Result<(), WireError> {
    let holds = || world.gateway().purse.look(|ledger| ledger.totals().holds);
    for _ in 0..1_000 {
        if holds() == 0 {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Err(format!("{} holds are left over", holds()).into())
}

fn how_to_show(args: &DemoArgs, terminal: bool) -> Show {
    match (args.json, terminal) {
        (true, _) => Show::Nothing,
        (false, true) => Show::InPlace {
            colours: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        },
        (false, false) => Show::Lines,
    }
}

fn greeting(world: &World) -> String {
    format!(
        "A gateway on http://{}, simulated providers behind it on http://{}, and 16 agents.\n\
         Prices are the real list prices; the money is not. Watch the researcher of site-audit.\n\n",
        world.running.agents,
        world.sim.addr(),
    )
}

fn farewell(outcome: &Outcome, agents: &[Agent]) -> String {
    let mut text = format!(
        "\nThe caps, beside the providers' own bill:\n\n{}\n",
        outcome.table()
    );
    text.push_str(&outcome.verdict());
    text.push('\n');
    for agent in agents {
        match agent.state() {
            State::Stopped(refusal) => {
                text.push_str(&format!(
                    "\n{}/{} was refused, once, with HTTP {} {}:\n  {}\n",
                    agent.task,
                    agent.member.agent,
                    refusal.status,
                    refusal.code(),
                    refusal.message(),
                ));
            }
            State::Failed(why) => {
                text.push_str(&format!(
                    "\n{}/{} failed: {why}\n",
                    agent.task, agent.member.agent
                ));
            }
            _ => {}
        }
    }
    text.push_str(
        "\nNext: `bursar demo --hold` keeps this gateway up to be tried with curl; README.md takes a real\n\
         provider under a cap in a minute; policies/limits.toml is where caps stand.\n",
    );
    text
}

fn try_it(world: &World) -> String {
    let (agents, ops) = (&world.running.agents, &world.running.ops);
    let (sim, folder) = (world.sim.addr(), world.folder().display());
    format!(
        "\nStill serving; Ctrl-C ends it. Its files are in {folder} until then.\n\n\
         \x20 OPENAI_BASE_URL=http://{agents}/task/mine/agent/me/v1   (any key)\n\
         \x20 ANTHROPIC_BASE_URL=http://{agents}/task/mine/agent/me   (any key)\n\n\
         curl -i http://{agents}/v1/chat/completions -H 'x-bursar-task-id: site-audit' -d \\\n\
         \x20 '{{\"model\": \"gpt-4o\", \"messages\": [{{\"role\": \"user\", \"content\": \"One more page?\"}}]}}'\n\
         curl http://{agents}/v1/budget -H 'x-bursar-task-id: site-audit'\n\
         curl http://{sim}/bill\n\
         curl http://{ops}/metrics\n"
    )
}
