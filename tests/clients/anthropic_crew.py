"""Anthropic's tool runner against the gateway, with the headers that Claude's own agents send."""

import functools
import logging

import anthropic
from anthropic import beta_tool

import looping
from suite import main, register


@beta_tool
def search(subject: str) -> str:
    """Looks a subject up.

    Args:
        subject: What to look for.
    """
    return f"There is no document about {subject}."


class Crew:
    """A main agent that uses a researcher, who has a tool. Its errors are told to the main agent, which
    here asks again until it is refused itself."""

    REFUSALS_MAX = 4

    def __init__(self, scene, task, retries=2, streams=False):
        self.scene, self.task, self.retries, self.streams = scene, task, retries, streams

    def loop(self, kind):
        self.scene.told("sim-main", ("research", {"question": "Where is the purse?"}))
        self.scene.told("sim-researcher", ("search", {"subject": "the purse"}))

    def work(self):
        self.scene.told("sim-main", ("research", {"question": "Where is the purse?"}))
        rooms = [("search", {"subject": f"room {n}"}) for n in range(looping.WITHOUT_END)]
        self.scene.told("sim-researcher", *rooms)

    def wise(self):
        self.scene.told("sim-researcher", "It lies in the third room.")
        self.scene.told("sim-main", looping.ANSWER)

    def agent(self, model, system, text, tools, headers):
        """Runs one agent to its end; what it says last."""
        client = anthropic.Anthropic(
            base_url=self.scene.url,
            api_key=self.scene.key,
            default_headers={"x-claude-code-session-id": self.task, **headers},
            max_retries=self.retries,
        )
        runner = client.beta.messages.tool_runner(
            model=model,
            max_tokens=1_000,
            system=system,
            messages=[{"role": "user", "content": text}],
            tools=tools,
            **({"stream": True} if self.streams else {}),
        )
        for message in runner:
            last = message.get_final_message() if self.streams else message
        return last.content[-1].text

    def run(self):
        @beta_tool
        def research(question: str) -> str:
            """Has a researcher look for something.

            Args:
                question: What to find out.
            """
            headers = {"x-claude-code-agent-id": "researcher"}
            return self.agent("sim-researcher", "You find documents.", question, [search], headers)

        return self.agent("sim-main", "You lead a researcher.", "Where is the purse?", [research], {})

    resume = run


# It logs each tool that fails with its traceback.
logging.disable(logging.CRITICAL)
looping.cases(register, Crew, ["tool"])
STREAMED = functools.partial(Crew, streams=True)
looping.kind_cases(lambda title, body: register(f"streamed, {title}", body), STREAMED, "tool")
main("anthropic-agents", looping.AT_ONCE)
