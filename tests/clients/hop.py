"""The program of docs/frameworks/queue.md: the tree and the trace stay whole over a queue."""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading

import fakeredis

import looping
import pages
from suite import main, register
from world import CREW_KEY, free_ports

LIMITS = """\
[[limit]]
name = "turns"
match = { task = "*-turns" }
per = ["task"]
turns = 1

[[limit]]
name = "task"
per = ["task"]
usd = "5.00"
"""
PROGRAM_SECONDS_MAX = 90


class Redis:
    """A server on a port of its own: the real one if it is installed, else one that speaks as it does."""

    def __enter__(self):
        (port,) = free_ports(1)
        self.url = f"redis://127.0.0.1:{port}"
        self.place = tempfile.TemporaryDirectory(prefix="bursar-redis-")
        self.child = self.server = None
        if shutil.which("redis-server"):
            words = ["redis-server", "--port", str(port), "--save", "", "--dir", self.place.name]
            self.child = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        else:
            self.server = fakeredis.TcpFakeServer(("127.0.0.1", port), server_type="redis")
            threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        if self.child:
            self.child.kill()
            self.child.wait()
        else:
            self.server.shutdown()
        self.place.cleanup()


class Hop(looping.Scene):
    """A gateway, a queue, and a worker at it."""

    def __init__(self):
        super().__init__(limits=LIMITS)
        self.redis = Redis()

    def __enter__(self):
        super().__enter__()
        self.redis.__enter__()
        self.text = pages.program("queue", "A hop over Redis streams")[1]
        self.program = pathlib.Path(self.home) / "crew.py"
        self.program.write_text(self.text)
        self.worker = self.begin("worker")
        return self

    def __exit__(self, *how):
        self.worker.kill()
        self.worker.communicate()
        self.redis.__exit__()
        super().__exit__(*how)

    def begin(self, *words, task="-"):
        environment = dict(os.environ, GATEWAY=self.url, BURSAR_KEY=CREW_KEY, REDIS_URL=self.redis.url, TASK=task)
        pipes = {name: subprocess.PIPE for name in ("stdout", "stderr")}
        return subprocess.Popen([sys.executable, self.program, *words], env=environment, text=True, **pipes)

    def ends(self, child):
        try:
            said, aside = child.communicate(timeout=PROGRAM_SECONDS_MAX)
        finally:
            child.kill()
        assert child.returncode == 0, aside[-2000:]
        return said

    def calls_of(self, task):
        rows = [row["call"] for row in self.trace(task) if "call" in row]
        return [row for row in rows if row["model"] != "-"]


def the_tree_stays_whole():
    tasks = ["task-1", "task-2", "task-3"]
    with Hop() as hop:
        hop.told("sim-researcher", looping.ANSWER)
        children = [hop.begin(f"Where is {task}?", task=task) for task in tasks]
        for child in children:
            assert hop.ends(child).strip()
        traces = set()
        for task in tasks:
            looping.until("three calls", lambda: len(hop.calls_of(task)) == 3)
            rows = hop.calls_of(task)
            seen = [(row["agent"], row.get("parent")) for row in rows]
            assert seen == [("supervisor", None), ("researcher", "supervisor"), ("supervisor", None)], seen
            (trace,) = {row["trace"] for row in rows}
            traces.add(trace)
            hop.books_agree(task)
        assert len(traces) == len(tasks), traces


def a_refusal_comes_back():
    with Hop() as hop:
        said = hop.ends(hop.begin("Where is the purse?", task="task-turns"))
        assert "turns_exceeded" in said and "cap of 1 turns" in said, said
        looping.until("the refusal", lambda: looping.denials(hop, "task-turns"))
        (denied,) = looping.denials(hop, "task-turns")
        assert denied["agent"] == "researcher", denied


register("the tree and the trace stay whole", the_tree_stays_whole)
register("a refusal comes back", a_refusal_comes_back)
main("hop", at_once=2)
