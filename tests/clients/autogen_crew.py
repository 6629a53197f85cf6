"""AutoGen's swarm against the gateway: loops, questions to people, and what comes of them."""

import asyncio
import logging

from autogen_agentchat.agents import AssistantAgent
from autogen_agentchat.conditions import TextMentionTermination
from autogen_agentchat.teams import Swarm
from autogen_core.models import ModelFamily, ModelInfo
from autogen_ext.models.openai import OpenAIChatCompletionClient

import looping
from suite import main, register

# It logs each agent that fails with its traceback.
logging.disable(logging.CRITICAL)


async def search(subject: str) -> str:
    """Looks a subject up."""
    return f"There is no document about {subject}."


class Crew:
    """A researcher, who has a tool, and a writer; each can hand over to the other."""

    def __init__(self, scene, task, retries=2):
        self.scene, self.task, self.retries = scene, task, retries

    def model(self, agent):
        return OpenAIChatCompletionClient(
            model=f"sim-{agent}",
            base_url=f"{self.scene.url}/v1",
            api_key=self.scene.key,
            default_headers={"x-bursar-task-id": self.task, "x-bursar-agent-id": agent},
            max_retries=self.retries,
            model_info=ModelInfo(
                vision=False,
                function_calling=True,
                json_output=True,
                structured_output=True,
                family=ModelFamily.UNKNOWN,
            ),
        )

    @staticmethod
    def team(clients):
        researcher = AssistantAgent(
            "researcher",
            clients["researcher"],
            tools=[search],
            handoffs=["writer"],
            system_message="You find documents.",
        )
        writer = AssistantAgent(
            "writer",
            clients["writer"],
            handoffs=["researcher"],
            system_message="You write reports.",
        )
        return Swarm([researcher, writer], termination_condition=TextMentionTermination(looping.ANSWER))

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
        """A team whose run failed cannot go on; a new one is asked again."""
        return self.run()

    async def told(self, text):
        clients = {name: self.model(name) for name in ("researcher", "writer")}
        try:
            result = await self.team(clients).run(task=text)
        finally:
            for client in clients.values():
                await client.close()
        return result.messages[-1].content


looping.cases(register, Crew, ["tool", "hand-off"])
main("autogen", looping.AT_ONCE)
