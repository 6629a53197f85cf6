"""Responses over a WebSocket, as openai-python and the OpenAI Agents SDK open one."""

import asyncio

import openai
from agents import Agent, ModelSettings, OpenAIProvider, RunConfig, Runner, function_tool, set_tracing_disabled
from agents.models.openai_responses import ResponsesWebSocketError

import looping
from suite import main, register

# Its traces would go to the vendor, and the gateway's key with them.
set_tracing_disabled(True)
CALLS = 3

LIMITS = """\
[[limit]]
name = "turns"
match = { task = "*-turns" }
per = ["task"]
turns = 2

[[limit]]
name = "task"
per = ["task"]
usd = "5.00"
"""


def ids(task, agent=None):
    return {"x-bursar-task-id": task} | ({"x-bursar-agent-id": agent} if agent else {})


def client(scene, kind, task):
    return kind(base_url=f"{scene.url}/v1", api_key=scene.key, default_headers=ids(task))


def calls(scene, task, count):
    """The task's calls in the journal, once there are so many."""
    rows = [row["call"] for row in scene.trace(task) if "call" in row]
    rows = [row for row in rows if row["dialect"] == "openai-responses"]
    return rows if len(rows) >= count else None


def ask(connection):
    """One call, to its last event."""
    connection.response.create(model="sim-plain", input="Where is the purse?")
    for event in connection:
        if event.type in ("response.completed", "response.failed", "response.incomplete", "error"):
            return event
    raise AssertionError("it was closed")


def openai_python():
    with looping.Scene(limits=LIMITS) as scene:
        with client(scene, openai.OpenAI, "task-a").responses.connect(extra_headers={"x-bursar-agent-id": "writer"}) as line:
            for _ in range(CALLS):
                event = ask(line)
                assert event.type == "response.completed", event
                assert event.response.usage.output_tokens > 0, event
        rows = looping.until("the calls", lambda: calls(scene, "task-a", CALLS))
        assert [(row["agent"], row["ending"]) for row in rows] == [("writer", "settle")] * CALLS, rows
        scene.books_agree("task-a")


def openai_python_is_refused():
    with looping.Scene(limits=LIMITS) as scene:
        with client(scene, openai.OpenAI, "task-turns").responses.connect() as line:
            for _ in range(2):
                assert ask(line).type == "response.completed"
            refused = ask(line)
            assert refused.type == "error", refused
            told = refused.model_dump()
            assert told["status"] == 402 and told["error"]["code"] == "turns_exceeded", told
            assert "cap of 2 turns" in told["error"]["message"], told
        scene.books_agree("task-turns")


@function_tool
def search(subject: str) -> str:
    """Looks a subject up."""
    return f"There is no document about {subject}."


async def crew(scene, task):
    """A researcher, who has a tool, hands over to a writer, over sockets."""
    writer = Agent(
        name="writer",
        instructions="You write reports.",
        model="sim-writer",
        model_settings=ModelSettings(extra_headers={"x-bursar-agent-id": "writer", "x-bursar-parent-agent-id": "researcher"}),
    )
    researcher = Agent(
        name="researcher",
        instructions="You find documents.",
        model="sim-researcher",
        tools=[search],
        handoffs=[writer],
        model_settings=ModelSettings(extra_headers={"x-bursar-agent-id": "researcher"}),
    )
    async with client(scene, openai.AsyncOpenAI, task) as sdk:
        provider = OpenAIProvider(openai_client=sdk, use_responses=True, use_responses_websocket=True)
        try:
            config = RunConfig(model_provider=provider)
            return (await Runner.run(researcher, "Where is the purse?", run_config=config, max_turns=1_000)).final_output
        finally:
            await provider.aclose()


def agents_sdk():
    with looping.Scene(limits=LIMITS) as scene:
        scene.told("sim-researcher", ("search", {"subject": "the purse"}), ("transfer_to_writer", {}))
        scene.told("sim-writer", looping.ANSWER)
        assert looping.Run(asyncio.run, crew(scene, "task-b")).ends() == looping.ANSWER
        rows = looping.until("the calls", lambda: calls(scene, "task-b", 3))
        seen = [(row["agent"], row.get("parent")) for row in rows]
        assert seen == [("researcher", None)] * 2 + [("writer", "researcher")], seen
        scene.books_agree("task-b")


def agents_sdk_is_refused(task, *steps):
    with looping.Scene(limits=LIMITS) as scene:
        scene.told("sim-researcher", *steps)
        error = looping.Run(asyncio.run, crew(scene, task)).fails()
        assert isinstance(error, ResponsesWebSocketError), error
        denied = looping.until("the refusal", lambda: looping.denials(scene, task))
        assert len(denied) == 1, denied
        assert denied[0]["reason"] in str(error), error
        scene.books_agree(task)


ROOMS = [("search", {"subject": f"room {n}"}) for n in range(looping.WITHOUT_END)]
register("openai-python: calls over one socket", openai_python)
register("openai-python: a refusal is an event", openai_python_is_refused)
register("Agents SDK: a crew's tree is exact", agents_sdk)
register("Agents SDK: a cap's refusal is raised, once", lambda: agents_sdk_is_refused("task-turns", *ROOMS))
register("Agents SDK: a loop's refusal is raised, once", lambda: agents_sdk_is_refused("task-loop", ROOMS[0]))
main("openai-socket", looping.AT_ONCE)
