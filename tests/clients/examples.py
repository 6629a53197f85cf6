"""The examples of docs/FRAMEWORKS.md, run as they stand: each meets a loop and says so.

Those whose framework is not installed here are left to another suite's packages.
"""

import functools
import importlib.util
import os
import pathlib
import re
import subprocess
import sys
import urllib.error

import looping
from suite import CREW_KEY, GATEWAY, main, register
from world import free_ports

PAGE = pathlib.Path(__file__).parent / "../../docs/FRAMEWORKS.md"
# What an example takes that is not stopped is more than that.
EXAMPLE_SECONDS_MAX = 120
FRAMEWORKS = {
    "Anthropic's tool runner": "anthropic",
}


def examples():
    """The last program of each section, by its heading."""
    for section in PAGE.read_text().split("\n## ")[1:]:
        programs = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
        if programs:
            yield section.partition("\n")[0], programs[-1]


def runs(program):
    environment = dict(os.environ, GATEWAY=GATEWAY, BURSAR_KEY=CREW_KEY)
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        timeout=EXAMPLE_SECONDS_MAX,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Loop detected: Agent `" in done.stdout, f"{done.stdout}\n{done.stderr[-2000:]}"


def receiver():
    """The webhook receiver, at whose terminal somebody says no."""
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}/bursar"
    hook = f'[escalation]\nwebhook = [{{ url = "{url}", secret = "env:SUITE_WEBHOOK_SECRET" }}]\n'
    limits = '[[limit]]\nname = "task"\nper = ["task"]\nturns = 1\non_exceed = "escalate"\n'
    with looping.Scene(limits=limits, more=f"\n{hook}") as scene:
        secret = os.environ["SUITE_WEBHOOK_SECRET"]
        ops = f"http://127.0.0.1:{scene.ops}"
        environment = dict(os.environ, OPS=ops, PORT=str(port), BURSAR_WEBHOOK_SECRET=secret)
        words = [sys.executable, "-c", FOUND["A person, by webhook"]]
        pipes = {name: subprocess.PIPE for name in ("stdin", "stdout", "stderr")}
        with subprocess.Popen(words, env=environment, text=True, **pipes) as terminal:
            try:
                terminal.stdin.write("n\n")
                terminal.stdin.flush()
                headers = {"authorization": f"Bearer {scene.key}", "x-bursar-task-id": "task-said-no"}
                body = {"model": "sim-plain", "messages": [{"role": "user", "content": "Hello"}]}
                chat = f"{scene.url}/v1/chat/completions"
                looping.post(chat, body, headers.items())
                try:
                    looping.post(chat, body, headers.items())
                    raise AssertionError("it was let through")
                except urllib.error.HTTPError as error:
                    refusal = error.read().decode()
                assert "task_suspended" in refusal, refusal
            finally:
                terminal.kill()
            assert "Let task-said-no go on?" in terminal.stdout.read(), terminal.stderr.read()


FOUND = dict(examples())
register("a webhook receiver", receiver)
assert FRAMEWORKS.keys() <= FOUND.keys(), f"{PAGE} has no example of some: {FOUND.keys()}"
for framework, package in FRAMEWORKS.items():
    if importlib.util.find_spec(package):
        register(framework, functools.partial(runs, FOUND[framework]))
main("examples", at_once=3)
