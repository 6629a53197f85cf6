"""How well the gateway works out whose calls they are, beside the truth. Standard library only."""

import collections
import dataclasses

# The least shares of calls that must be in the right task, of the right agent, under the right parent.
TASK_MIN, AGENT_MIN, PARENT_MIN = 0.95, 0.95, 0.90


@dataclasses.dataclass(frozen=True)
class Truth:
    """Whose call one call is: the run of the program, the agent, and that agent's parent."""

    run: str
    agent: str
    parent: str | None


@dataclasses.dataclass(frozen=True)
class Score:
    calls: int
    task: int
    agent: int
    parent: int

    def shares(self):
        return [count / self.calls for count in (self.task, self.agent, self.parent)]

    def __str__(self):
        task, agent, parent = (f"{share:.0%}" for share in self.shares())
        return f"{self.calls} calls; right task {task}, agent {agent}, parent {parent}"

    def check(self):
        for share, least in zip(self.shares(), (TASK_MIN, AGENT_MIN, PARENT_MIN)):
            assert share >= least, str(self)


def score(rows, truth, nameless=False):
    """Counts the calls that are where they belong. What the gateway calls a task or an agent does not
    matter, but there must be one of it for each that is true: a run is the task that most of its calls are
    in, unless most calls of that task are another run's; an agent likewise, within its run. Where the
    framework itself says who its agents are, its first has no id, and that is one, too (`nameless`)."""
    tasks = Names(zip((one.run for one in truth), (row.get("task") for row in rows)))
    agents = Names(
        ((one.run, one.agent), (row.get("task"), row.get("agent")))
        for row, one in zip(rows, truth)
        if nameless or row.get("agent")
    )
    right = collections.Counter()
    for row, one in zip(rows, truth):
        in_task = tasks.agree(one.run, row.get("task"))
        agent = agents.agree((one.run, one.agent), (row.get("task"), row.get("agent")))
        said, true = row.get("parent"), one.parent
        parent = said is None if true is None else agents.agree((one.run, true), (row.get("task"), said))
        right.update(task=in_task, agent=in_task and agent, parent=in_task and agent and parent)
    return Score(len(rows), right["task"], right["agent"], right["parent"])


class Names:
    """Which name stands for which truth: the pairs that are most frequent from both sides."""

    def __init__(self, pairs):
        counted = collections.Counter(pairs)
        self.by_truth, self.by_name = {}, {}
        for (true, name), _ in counted.most_common():
            self.by_truth.setdefault(true, name)
            self.by_name.setdefault(name, true)

    def agree(self, true, name):
        return self.by_truth.get(true) == name and self.by_name.get(name) == true
