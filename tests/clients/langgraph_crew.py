"""LangGraph's supervisor against the gateway: loops, questions to people, and what comes of them."""

import functools
import warnings

from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.prebuilt import create_react_agent
from langgraph_supervisor import create_supervisor

import looping
from suite import main, register

warnings.filterwarnings("ignore")


class Crew:
    """A supervisor that hands work to a researcher, who has a tool, and to a writer."""

    def __init__(self, scene, task, retries=2, streams=False, tells="headers"):
        self.scene, self.task, self.retries, self.streams = scene, task, retries, streams
        self.tells = tells
        self.config = {"configurable": {"thread_id": task}, "recursion_limit": 1_000}
        researcher = create_react_agent(
            self.model("researcher", parent="supervisor"),
            tools=[self.search],
            name="researcher",
            prompt="You find documents.",
        )
        writer = create_react_agent(
            self.model("writer", parent="supervisor"),
            tools=[],
            name="writer",
            prompt="You write reports.",
        )
        graph = create_supervisor(
            [researcher, writer], model=self.model("supervisor"), prompt="You lead two workers."
        )
        self.graph = graph.compile(checkpointer=InMemorySaver())

    def model(self, agent, parent=None):
        return ChatOpenAI(
            model=f"sim-{agent}",
            base_url=self.scene.base_url(self),
            api_key=self.scene.key,
            default_headers=looping.headers(self, agent, parent) | looping.task_header(self),
            max_retries=self.retries,
            streaming=self.streams,
        )

    @staticmethod
    def search(subject: str) -> str:
        """Looks a subject up."""
        return f"There is no document about {subject}."

    def loop(self, kind):
        if kind == "tool":
            self.scene.told("sim-supervisor", ("transfer_to_researcher", {}))
            self.scene.told("sim-researcher", ("search", {"subject": "the purse"}))
        else:
            to_and_fro = [("transfer_to_researcher", {}), ("transfer_to_writer", {})]
            self.scene.told("sim-supervisor", *to_and_fro * looping.WITHOUT_END)
            self.scene.told("sim-researcher", "The writer should look at this.")
            self.scene.told("sim-writer", "The researcher should look at this.")

    def work(self):
        self.scene.told("sim-supervisor", ("transfer_to_researcher", {}))
        rooms = [("search", {"subject": f"room {n}"}) for n in range(looping.WITHOUT_END)]
        self.scene.told("sim-researcher", *rooms)

    def wise(self):
        self.scene.told("sim-researcher", "It lies in the third room.")
        self.scene.told("sim-writer", "It is written down.")
        self.scene.told("sim-supervisor", looping.ANSWER)

    def run(self):
        start = {"messages": [{"role": "user", "content": "Where is the purse?"}]}
        return self.graph.invoke(start, self.config)["messages"][-1].content

    def resume(self):
        """Goes on from the last checkpoint."""
        return self.graph.invoke(None, self.config)["messages"][-1].content


looping.cases(register, Crew, ["tool", "hand-off"])
STREAMED = functools.partial(Crew, streams=True)
looping.kind_cases(lambda title, body: register(f"streamed, {title}", body), STREAMED, "tool")
looping.late_cases(lambda title, body: register(f"streamed, {title}", body), STREAMED, "hand-off")
looping.attribution_cases(register, Crew, {("supervisor", None), ("researcher", "supervisor")})
main("langgraph", looping.AT_ONCE)
