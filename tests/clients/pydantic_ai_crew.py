"""Pydantic AI against the gateway: an agent that calls another as a tool."""

import asyncio

from openai import AsyncOpenAI
from pydantic_ai import Agent, UsageLimits
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

import looping
from suite import main, register

LIMITS = UsageLimits(request_limit=1_000)


def search(subject: str) -> str:
    """Looks a subject up."""
    return f"There is no document about {subject}."


class Crew:
    """A supervisor that uses a researcher, who has a tool."""

    def __init__(self, scene, task, retries=2):
        self.scene, self.task, self.retries = scene, task, retries

    def loop(self, kind):
        self.scene.told("sim-supervisor", ("research", {"question": "Where is the purse?"}))
        self.scene.told("sim-researcher", ("search", {"subject": "the purse"}))

    def work(self):
        self.scene.told("sim-supervisor", ("research", {"question": "Where is the purse?"}))
        rooms = [("search", {"subject": f"room {n}"}) for n in range(looping.WITHOUT_END)]
        self.scene.told("sim-researcher", *rooms)

    def wise(self):
        self.scene.told("sim-researcher", "It lies in the third room.")
        self.scene.told("sim-supervisor", looping.ANSWER)

    def run(self):
        return asyncio.run(self.told())

    resume = run

    async def told(self):
        headers = {"x-bursar-task-id": self.task}
        client = AsyncOpenAI(
            base_url=f"{self.scene.url}/v1",
            api_key=self.scene.key,
            default_headers=headers,
            max_retries=self.retries,
        )

        def agent(name, instructions, parent=None, **more):
            headers = {"x-bursar-agent-id": name}
            if parent:
                headers["x-bursar-parent-agent-id"] = parent
            model = OpenAIChatModel(f"sim-{name}", provider=OpenAIProvider(openai_client=client))
            settings = {"extra_headers": headers}
            return Agent(model, instructions=instructions, model_settings=settings, **more)

        researcher = agent("researcher", "You find documents.", "supervisor", tools=[search])

        async def research(question: str) -> str:
            """Has a researcher look for something."""
            return (await researcher.run(question, usage_limits=LIMITS)).output

        supervisor = agent("supervisor", "You lead a researcher.", tools=[research])
        async with client:
            return (await supervisor.run("Where is the purse?", usage_limits=LIMITS)).output


looping.cases(register, Crew, ["tool"])
main("pydantic-ai", looping.AT_ONCE)
