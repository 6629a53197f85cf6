"""The programs of docs/frameworks/, run as they stand: whose call each call is, and what stops them.

    trees.py [WORD…]

Each program is a crew of a framework. It is run with a task's id (the tree must be exactly its own), with
nothing but the base URL (what the gateway works out by itself is put beside the truth), and with a cap on
turns, a cap on dollars and a loop in its way (one refusal, and the program ends by itself). Each agent has
a model of its own, by whose name the journal says which agent of which run made a call: that is the truth.
Programs whose framework is not installed here are left to another suite's packages. Standard library only.
"""

import concurrent.futures
import dataclasses
import functools
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import looping
import pages
import scores
from suite import main, register
from world import CREW_KEY

# What a program takes that hangs is more than that; this machine may be busy.
PROGRAM_SECONDS_MAX = 240
# Runs of a program side by side of which nothing is said.
UNSAID = 2
# Refusals after which a program that goes on asking is taken for one that does not end.
REFUSALS_MAX = 3

LIMITS = """\
[[limit]]
name = "turns"
match = { task = "*-turns" }
per = ["task"]
turns = 3

[[limit]]
name = "dollars"
match = { task = "*-dollars" }
per = ["task"]
usd = "0.004"

[[limit]]
name = "task"
per = ["task"]
usd = "5.00"
"""

SEARCH = ("search", {"subject": "the purse"})
FOUND, WRITTEN = "It lies in the third room.", "It is written down."


@dataclasses.dataclass(frozen=True)
class Program:
    """A program of a page, and what is true of it."""

    page: str
    heading: str
    # What must be installed for it: a package of Python, or one of npm.
    needs: str
    # Each agent and its parent.
    tree: dict
    # What each agent does until it is done, one step a call; whoever has a `tool` can be led on.
    steps: dict
    tool: tuple = SEARCH
    # Of the refusals: what the program's last line must show, and how many of them are as it should be.
    refusals: int = 1
    environment: tuple = ()
    # Agents whose ids the framework makes up itself, as the truth has them.
    own_ids: bool = False
    # Known to be beyond what can be worked out: scored, and not judged.
    is_hard: bool = False


def supervised(page, heading, needs, first, second, lead="supervisor", search=SEARCH, **more):
    """One that leads a researcher and a writer, by calls of these two tools."""
    tree = {lead: None, "researcher": lead, "writer": lead}
    steps = {lead: [first, second, looping.ANSWER], "researcher": [search, FOUND], "writer": [WRITTEN]}
    return Program(page, heading, needs, tree, steps, search, **more)


def handed_over(page, heading, needs, tool, search=SEARCH, parent="researcher", **more):
    """A researcher who hands over to a writer."""
    tree = {"researcher": None, "writer": parent}
    steps = {"researcher": [search, tool], "writer": [looping.ANSWER]}
    return Program(page, heading, needs, tree, steps, search, **more)


def asked(tool, **arguments):
    return tool, arguments


def crewai_delegates(coworker):
    return asked("delegate_work_to_coworker", task="Do your part about the purse.", context="It is lost.", coworker=coworker)


def claude_spawns(agent):
    words = {"description": "A part", "prompt": f"Do the {agent}'s part about the purse.", "subagent_type": agent, "run_in_background": False}
    return "Agent", words


def final(answer):
    return asked("final_answer", answer=answer)


CHAT = (("CHAT", "1"),)
RESEARCH, WRITE = asked("research", input="Find the purse."), asked("write", input="Write of the purse.")
CREWAI_FLAGS = (("CREWAI_DISABLE_TELEMETRY", "true"), ("CREWAI_TRACING_ENABLED", "false"))
PROGRAMS = [
    supervised(
        "langgraph", "LangGraph supervisor", "langgraph_supervisor", ("transfer_to_researcher", {}), ("transfer_to_writer", {})
    ),
    handed_over("langgraph", "LangGraph swarm", "langgraph_swarm", ("transfer_to_writer", {})),
    handed_over("openai-agents", "OpenAI Agents SDK, handoffs", "agents", ("transfer_to_writer", {})),
    supervised("openai-agents", "OpenAI Agents SDK, agents as tools", "agents", RESEARCH, WRITE),
    handed_over(
        "openai-agents", "OpenAI Agents SDK, handoffs", "agents", ("transfer_to_writer", {}), environment=CHAT
    ),
    supervised(
        "openai-agents", "OpenAI Agents SDK, agents as tools", "agents", RESEARCH, WRITE, environment=CHAT
    ),
    Program(
        "crewai",
        "CrewAI, sequential",
        "crewai",
        {"researcher": None, "writer": None},
        {"researcher": [SEARCH, FOUND], "writer": [looping.ANSWER]},
        environment=CREWAI_FLAGS,
        is_hard=True,
    ),
    supervised(
        "crewai",
        "CrewAI, hierarchical",
        "crewai",
        crewai_delegates("researcher"),
        crewai_delegates("writer"),
        lead="manager",
        environment=CREWAI_FLAGS,
        refusals=3,
    ),
    supervised(
        "claude-agent-sdk",
        "Claude Agent SDK, sub-agents",
        "claude_agent_sdk",
        claude_spawns("researcher"),
        claude_spawns("writer"),
        lead="main",
        search=("mcp__library__search", {"subject": "the purse"}),
        own_ids=True,
        refusals=3,
    ),
    supervised(
        "pydantic-ai",
        "Pydantic AI, agents as tools",
        "pydantic_ai",
        asked("research", question="Find the purse."),
        asked("write", findings="What is known of the purse."),
    ),
    handed_over("autogen", "AutoGen, swarm", "autogen_agentchat", ("transfer_to_writer", {})),
    Program(
        "autogen",
        "AutoGen, selector",
        "autogen_agentchat",
        {"selector": None, "researcher": "selector", "writer": "selector"},
        {"selector": ["researcher", "writer"], "researcher": [SEARCH, FOUND], "writer": [looping.ANSWER]},
        is_hard=True,
    ),
    handed_over("llama-index", "LlamaIndex, handoffs", "llama_index", asked("handoff", to_agent="writer", reason="All of the purse is found.")),
    Program(
        "smolagents",
        "smolagents, managed agents",
        "smolagents",
        {"manager": None, "researcher": "manager", "writer": "manager"},
        {
            "manager": [asked("researcher", task="Find the purse."), asked("writer", task="Write of the purse."), final(looping.ANSWER)],
            "researcher": [SEARCH, final(FOUND)],
            "writer": [final(WRITTEN)],
        },
        refusals=3,
    ),
    supervised(
        "google-adk",
        "Google ADK, agents as tools",
        "google.adk",
        asked("researcher", request="Find the purse."),
        asked("writer", request="Write of the purse."),
        refusals=3,
    ),
    supervised(
        "semantic-kernel",
        "Semantic Kernel, agents as plugins",
        "semantic_kernel",
        asked("researcher-researcher", messages="Find the purse."),
        asked("writer-writer", messages="Write of the purse."),
        search=("Library-search", {"subject": "the purse"}),
        refusals=3,
    ),
    handed_over("openai-swarm", "OpenAI Swarm, handoffs", "swarm", ("transfer_to_writer", {})),
    handed_over("openai-agents-js", "OpenAI Agents SDK (js), handoffs", "@openai/agents", ("transfer_to_writer", {})),
    supervised("openai-agents-js", "OpenAI Agents SDK (js), agents as tools", "@openai/agents", RESEARCH, WRITE, refusals=3),
    handed_over(
        "openai-agents-js", "OpenAI Agents SDK (js), handoffs", "@openai/agents", ("transfer_to_writer", {}), environment=CHAT
    ),
    supervised(
        "openai-agents-js", "OpenAI Agents SDK (js), agents as tools", "@openai/agents", RESEARCH, WRITE, environment=CHAT
    ),
    supervised("vercel-ai", "Vercel AI SDK, agents as tools", "ai", RESEARCH, WRITE, refusals=3),
    supervised(
        "mastra",
        "Mastra, sub-agents",
        "@mastra/core",
        asked("agent-researcher", prompt="Find the purse."),
        asked("agent-writer", prompt="Write of the purse."),
        refusals=3,
    ),
]


def is_installed(program):
    is_js = pages.program(program.page, program.heading)[0] == "js"
    if is_js != ("NODE_HOME" in os.environ):
        return False
    if is_js:
        return os.path.isdir(os.path.join(os.environ["NODE_HOME"], "node_modules", program.needs))
    try:
        return importlib.util.find_spec(program.needs) is not None
    except ModuleNotFoundError:  # What it is a part of is not there.
        return False


def of_run(step, run):
    """The step of one run: what is talked of is another thing in each."""
    text = json.dumps(step)
    for same in ("the purse", FOUND, WRITTEN):
        text = text.replace(same, f"{same} {run}")
    return json.loads(text)


class Stage(looping.Scene):
    """A gateway and providers, and one program that runs there, several times perhaps."""

    def __init__(self, program):
        super().__init__(limits=LIMITS)
        self.program = program
        self.language, self.text = pages.program(program.page, program.heading)

    def model(self, agent, run):
        return f"sim-{agent}-{run}"

    def tell(self, run, tool_steps=None):
        """Tells each agent's model what to do; whoever has the tool may be led on by these steps."""
        for agent, steps in self.program.steps.items():
            if tool_steps is not None and self.program.tool in steps:
                steps = tool_steps
            self.told(self.model(agent, run), *(of_run(step, run) for step in steps))

    def run(self, run, task=None, question="Where is the purse?"):
        """Runs the program to its end: its output, and what it says aside."""
        environment = {name: value for name, value in os.environ.items() if name not in ("TASK", "BINARY")}
        environment |= {"GATEWAY": self.url, "BURSAR_KEY": CREW_KEY, "MODEL": f"sim-{{}}-{run}"}
        environment |= dict(self.program.environment) | ({"TASK": task} if task else {})
        with tempfile.TemporaryDirectory(prefix="bursar-program-") as place:
            words = self.command_line(place)
            child = subprocess.Popen(
                [*words, question], env=environment, cwd=place, text=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )  # fmt: skip
            try:
                said, aside = child.communicate(timeout=PROGRAM_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                child.kill()
                raise AssertionError(f"it hangs; {self.calls_of(run)} calls were made") from None
        assert child.returncode == 0, f"ended with {child.returncode}: {said[-1000:]}\n{aside[-2000:]}"
        return said, aside

    def command_line(self, place):
        """The program as a file; Node finds its packages from there."""
        if self.language == "js":
            packages = pathlib.Path(os.environ["NODE_HOME"]) / "node_modules"
            (pathlib.Path(place) / "node_modules").symlink_to(packages)
        name, runner = ("crew.py", sys.executable) if self.language == "python" else ("crew.mjs", "node")
        (pathlib.Path(place) / name).write_text(self.text)
        return [runner, name]

    def rows(self):
        """All calls in the journal."""
        tasks = looping.get(f"{self.api}/tasks?limit=1000")["tasks"]
        traces = [self.trace(one["task"]) for one in tasks]
        return [row["call"] for trace in traces for row in trace if "call" in row]

    def calls_of(self, run):
        return sum(row["model"].endswith(f"-{run}") for row in self.rows())

    def agent_of(self, row):
        """The truth: agent and run."""
        agent, _, run = row["model"].removeprefix("sim-").rpartition("-")
        return agent, run

    def ended(self, run, count):
        """The journal's rows of that run once there are so many."""
        look = lambda: [row for row in self.rows() if self.agent_of(row)[1] == run]
        looping.until(f"{count} calls of {run}", lambda: len(look()) >= count)
        return look()


def calls_in(program):
    return sum(len(steps) for steps in program.steps.values())


def its_tree_is_exact(program):
    with Stage(program) as stage:
        stage.tell("exact")
        said, _ = stage.run("exact", task="task-exact")
        assert looping.ANSWER in said, said
        rows = stage.ended("exact", calls_in(program))
        assert {row["task"] for row in rows} == {"task-exact"}, rows
        assert len(rows) == calls_in(program), [row["model"] for row in rows]
        seen = {(stage.agent_of(row)[0], row.get("agent"), row.get("parent")) for row in rows}
        if program.own_ids:
            assert_own_ids(program, seen)
        else:
            assert seen == {(agent, agent, parent) for agent, parent in program.tree.items()}, seen
        stage.books_agree("task-exact")


def assert_own_ids(program, seen):
    """Each agent has one id, and no two the same: of the framework's making, but for the first, of which it says
    none: that one's is inferred."""
    assert len(seen) == len({agent for _, agent, _ in seen}) == len(program.tree), seen
    ids = {name: agent for name, agent, _ in seen}
    for name, agent, parent in seen:
        expected = program.tree[name]
        assert parent == (ids[expected] if expected else None), seen
        assert agent.startswith("agent-") == (expected is None), seen


def nothing_is_said(program):
    """All calls go through; what is worked out of them is scored."""
    with Stage(program) as stage:
        runs = [f"r{n}" for n in range(UNSAID)]
        for run in runs:
            stage.tell(run)
        questions = [f"Where is purse {run}?" for run in runs]
        with concurrent.futures.ThreadPoolExecutor(UNSAID) as places:
            for said, _ in places.map(stage.run, runs, [None] * UNSAID, questions):
                assert looping.ANSWER in said, said
        rows = [row for run in runs for row in stage.ended(run, calls_in(program))]
        assert len(rows) == len(runs) * calls_in(program), len(rows)
        assert all(row["ending"] == "settle" for row in rows), rows
        truth = [scores.Truth(run, agent, program.tree[agent]) for agent, run in map(stage.agent_of, rows)]
        score = scores.score(rows, truth, program.own_ids)
        print(f"scored {title(program):<45} {score}\n", end="", flush=True)
        if not program.is_hard:
            score.check()


def refused(program, way, tool_steps, code):
    task = f"task-{way}"
    with Stage(program) as stage:
        stage.tell(way, tool_steps)
        said, aside = stage.run(way, task=task)
        # A parent that is told what its child is refused may end well by itself, with what is left.
        if program.refusals == 1 or way == "turns":
            # Some show it as a dictionary's text.
            assert looping.WORDS[code] in said.replace("\\'", "'"), f"{said}\n{aside[-2000:]}"
        denied = looping.until("the refusal", lambda: looping.denials(stage, task))
        time.sleep(0.5)
        denied = looping.denials(stage, task)
        assert denied[0]["reason"] == code, denied
        assert len(denied) <= program.refusals, f"tried again: {denied}"
        stage.books_agree(task)


def is_chat(program):
    return ("CHAT", "1") in program.environment


def title(program):
    return program.heading + (", chat" if is_chat(program) else "")


def cases(program):
    name = title(program)
    one = functools.partial
    register(f"{name}: its tree is exact", one(its_tree_is_exact, program))
    register(f"{name}: nothing is said", one(nothing_is_said, program))
    if is_chat(program):
        return  # Refusals reach it in the same way.
    many = [(program.tool[0], {"subject": f"room {n}"}) for n in range(looping.WITHOUT_END)]
    register(f"{name}: a cap on turns", one(refused, program, "turns", many, "turns_exceeded"))
    register(f"{name}: a cap on dollars", one(refused, program, "dollars", many, "task_budget_exceeded"))
    register(f"{name}: a loop", one(refused, program, "loop", [program.tool], "loop_detected"))


for each in PROGRAMS:
    if is_installed(each):
        cases(each)
main("tree", at_once=3)
