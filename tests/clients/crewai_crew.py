"""CrewAI against the gateway: loops, questions to people, and what comes of them."""

import os
import tempfile

# Nothing leaves this machine, and nothing is kept in the home directory.
os.environ["CREWAI_DISABLE_TELEMETRY"] = os.environ["OTEL_SDK_DISABLED"] = "true"
KEPT = tempfile.TemporaryDirectory(prefix="bursar-crewai-")
os.environ["CREWAI_STORAGE_DIR"] = os.environ["HOME"] = KEPT.name

import logging  # noqa: E402

from crewai import LLM, Agent, Task  # noqa: E402
from crewai import Crew as Company  # noqa: E402
from crewai.tools import tool  # noqa: E402

import looping  # noqa: E402
from suite import main, register  # noqa: E402


@tool
def search(subject: str) -> str:
    """Looks a subject up."""
    return f"There is no document about {subject}."


class Crew:
    """A researcher, who has a tool. CrewAI itself tries a task again when a call is refused, unless it is
    told not to."""

    def __init__(self, scene, task, retries=2):
        self.scene, self.task, self.retries = scene, task, retries

    def loop(self, kind):
        self.scene.told("sim-researcher", ("search", {"subject": "the purse"}))

    def work(self):
        rooms = [("search", {"subject": f"room {n}"}) for n in range(looping.WITHOUT_END)]
        self.scene.told("sim-researcher", *rooms)

    def wise(self):
        self.scene.told("sim-researcher", looping.ANSWER)

    def run(self):
        model = LLM(
            model="openai/sim-researcher",
            base_url=f"{self.scene.url}/v1",
            api_key=self.scene.key,
            default_headers={"x-bursar-task-id": self.task, "x-bursar-agent-id": "researcher"},
            max_retries=self.retries,
        )
        researcher = Agent(
            role="researcher",
            goal="Find documents.",
            backstory="You have always found documents.",
            tools=[search],
            llm=model,
            max_iter=1_000,
            max_retry_limit=0,
        )
        find = Task(description="Where is the purse?", expected_output="A place", agent=researcher)
        return Company(agents=[researcher], tasks=[find]).kickoff().raw

    resume = run


logging.disable(logging.CRITICAL)
looping.cases(register, Crew, ["tool"])
main("crewai", looping.AT_ONCE)
