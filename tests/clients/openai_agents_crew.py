"""The OpenAI Agents SDK against the gateway: loops, questions to people, and what comes of them."""

import asyncio
import functools

from agents import (
    Agent,
    ModelSettings,
    OpenAIProvider,
    RunConfig,
    Runner,
    SQLiteSession,
    function_tool,
    handoff,
    set_tracing_disabled,
)
from openai import AsyncOpenAI

import looping
from suite import main, register

# Its traces would go to the vendor, and the gateway's key with them.
set_tracing_disabled(True)
TURNS_MAX = 1_000


@function_tool
def search(subject: str) -> str:
    """Looks a subject up."""
    return f"There is no document about {subject}."


class Crew:
    """A researcher, who has a tool, and a writer; each can hand over to the other."""

    def __init__(self, scene, task, retries=2, responses=True, streams=False, tells="headers"):
        self.scene, self.task, self.retries, self.tells = scene, task, retries, tells
        self.responses, self.streams = responses, streams
        self.session = SQLiteSession(task)
        self.researcher = self.agent("researcher", "You find documents.", tools=[search])
        writer = self.agent("writer", "You write reports.", handoffs=[handoff(self.researcher)])
        self.researcher.handoffs.append(handoff(writer))
        self.first = self.researcher

    def agent(self, name, instructions, parent=None, **more):
        settings = ModelSettings(extra_headers=looping.headers(self, name, parent))
        return Agent(
            name=name, instructions=instructions, model=f"sim-{name}", model_settings=settings, **more
        )

    def loop(self, kind):
        if kind == "tool":
            self.scene.told("sim-researcher", ("search", {"subject": "the purse"}))
        else:
            self.scene.told("sim-researcher", ("transfer_to_writer", {}))
            self.scene.told("sim-writer", ("transfer_to_researcher", {}))

    def work(self):
        rooms = [("search", {"subject": f"room {n}"}) for n in range(looping.WITHOUT_END)]
        self.scene.told("sim-researcher", *rooms)

    def wise(self):
        self.scene.told("sim-researcher", looping.ANSWER)
        self.scene.told("sim-writer", looping.ANSWER)

    def run(self):
        return asyncio.run(self.told("Where is the purse?"))

    def resume(self):
        """Goes on from what the session has kept."""
        return asyncio.run(self.told("Go on."))

    async def told(self, text):
        client = AsyncOpenAI(
            base_url=self.scene.base_url(self),
            api_key=self.scene.key,
            default_headers=looping.task_header(self),
            max_retries=self.retries,
        )
        async with client:
            provider = OpenAIProvider(openai_client=client, use_responses=self.responses)
            words = {
                "session": self.session,
                "run_config": RunConfig(model_provider=provider),
                "max_turns": TURNS_MAX,
            }
            if not self.streams:
                return (await Runner.run(self.first, text, **words)).final_output
            result = Runner.run_streamed(self.first, text, **words)
            async for _ in result.stream_events():
                pass
            return result.final_output


class Supervised(Crew):
    """A supervisor that uses the researcher as a tool."""

    def __init__(self, scene, task, tells="headers", **more):
        super().__init__(scene, task, tells=tells)
        researcher = self.agent("researcher", "You find documents.", "supervisor", tools=[search])
        tool = researcher.as_tool("research", "Finds documents.", max_turns=TURNS_MAX, **more)
        self.first = self.agent("supervisor", "You lead a researcher.", tools=[tool])

    def loop(self, kind):
        super().loop(kind)
        self.scene.told("sim-supervisor", ("research", {"input": "Find the purse."}), looping.ANSWER)


def a_parent_hears_and_ends():
    with looping.Scene() as scene:
        # Without it the parent is told that there was an error, and nothing of it.
        crew = Supervised(scene, "task-parent", failure_error_function=lambda _, error: str(error))
        crew.loop("tool")
        assert looping.Run(crew.run).ends() == looping.ANSWER
        items = asyncio.run(crew.session.get_items())
        heard = [item["output"] for item in items if item.get("type") == "function_call_output"]
        assert len(heard) == 1 and "Loop detected" in heard[0], heard
        assert scene.calls("task-parent")[0] == 5, scene.calls("task-parent")
        headers = {"x-bursar-task-id": crew.task, "x-bursar-agent-id": "supervisor"}
        headers["authorization"] = f"Bearer {scene.key}"
        children = looping.get(f"{scene.url}/v1/budget", headers)["children"]
        assert children == {"failed": ["researcher"], "finished": [], "running": []}, children
        scene.books_agree("task-parent")


def a_parent_that_tries_for_ever():
    with looping.Scene() as scene:
        crew = Supervised(scene, "task-stubborn")
        crew.loop("tool")
        scene.told("sim-supervisor", ("research", {"input": "Find the purse."}))
        message = looping.refused(looping.Run(crew.run).fails(), "loop_detected")
        assert "`supervisor`" in message and "`error_retry`" in message, message
        assert scene.calls("task-stubborn")[0] < looping.CALLS_MAX, scene.calls("task-stubborn")
        scene.books_agree("task-stubborn")


KINDS = ["tool", "hand-off"]
looping.cases(register, Crew, KINDS)
register("agent as tool: the parent hears of the refusal, and ends", a_parent_hears_and_ends)
register("agent as tool: a parent that tries for ever is refused itself", a_parent_that_tries_for_ever)
STREAMED, CHAT = functools.partial(Crew, streams=True), functools.partial(Crew, responses=False)
CHAT_STREAMED = functools.partial(Crew, responses=False, streams=True)
for name, crew in [("streamed", STREAMED), ("chat", CHAT), ("chat streamed", CHAT_STREAMED)]:
    looping.kind_cases(lambda title, body: register(f"{name}, {title}", body), crew, "tool")
    if crew is not CHAT:
        looping.late_cases(lambda title, body: register(f"{name}, {title}", body), crew, "hand-off")
looping.attribution_cases(register, Supervised, {("supervisor", None), ("researcher", "supervisor")})
main("openai-agents", looping.AT_ONCE)
