"""What the Python suites share: cases that report themselves, and the books of both sides.

Standard library only. A suite prints `ok NAME` or `FAILED NAME` for each case; `run.py` counts them.
"""

import asyncio
import concurrent.futures
import inspect
import json
import os
import re
import sys
import threading
import time
import traceback
import urllib.request

GATEWAY, OPS, SIM = os.environ["GATEWAY"], os.environ["OPS"], os.environ["SIM"]
CREW_KEY, SLOW_KEY = os.environ["CREW_KEY"], os.environ["SLOW_KEY"]

# A settle is written behind the answer's last byte; it is not there the moment the client has it.
SETTLE_SECONDS_MAX = 10

CASES = []


def case(function):
    CASES.append((function.__name__.replace("_", " "), function))
    return function


def register(name, function):
    """A case whose name is not that of its function."""
    CASES.append((name, function))


def main(suite, at_once=1):
    """Runs the cases named on the command line, or all, `at_once` of them side by side."""
    cases = [(f"{suite}: {name}", function) for name, function in CASES]
    wanted = sys.argv[1:]
    chosen = [one for one in cases if not wanted or any(word in one[0] for word in wanted)]
    with concurrent.futures.ThreadPoolExecutor(at_once) as places:
        failed = sum(places.map(lambda one: not passes(*one), chosen))
    sys.exit(1 if failed else 0)


def passes(name, function):
    try:
        if inspect.iscoroutinefunction(function):
            asyncio.run(function())
        else:
            function()
        print(f"ok {name}\n", end="", flush=True)
        return True
    except Exception:
        print(f"FAILED {name}\n{indent(what_went_wrong())}\n", end="", flush=True)
        return False


def what_went_wrong():
    """The error and where it came up in the suite; not the SDK's own thirty frames."""
    kind, error, trace = sys.exc_info()
    here = os.path.dirname(os.path.abspath(__file__))
    frames = [frame for frame in traceback.extract_tb(trace) if frame.filename.startswith(here)]
    where = "".join(traceback.format_list(frames[1:]))
    return where + "".join(traceback.format_exception_only(kind, error))


def indent(text):
    return "\n".join(f"    {line}" for line in text.splitlines())


def get_json(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)


def open_task(task, **caps):
    """Opens a task with its own, lower caps, as a supervisor would before it starts its agents."""
    body = json.dumps({"id": task, "owner": "research", **caps}).encode()
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(f"{OPS}/api/tasks", data=body, headers=headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


class Person(threading.Thread):
    """Within `with Person(task, verb) as person`, answers the question about that task from aside."""

    def __init__(self, task, verb, after=0, **fields):
        super().__init__(daemon=True)
        self.task, self.verb, self.after, self.fields = task, verb, after, fields
        self.question = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.join(timeout=SETTLE_SECONDS_MAX)
        assert self.question, f"nobody was asked about {self.task}"

    def run(self):
        until = time.monotonic() + SETTLE_SECONDS_MAX
        while time.monotonic() < until:
            waiting = get_json(f"{OPS}/api/escalations?state=waiting")["escalations"]
            found = [question for question in waiting if question["task"] == self.task]
            if found:
                time.sleep(self.after)
                body = json.dumps({"by": "suite", **self.fields}).encode()
                url = f"{OPS}/api/escalations/{found[0]['id']}/{self.verb}"
                headers = {"content-type": "application/json"}
                request = urllib.request.Request(url, data=body, headers=headers)
                urllib.request.urlopen(request, timeout=10).close()
                self.question = found[0]["id"]
                return
            time.sleep(0.02)


def metric(name, **labels):
    """The sum of a metric's samples that carry these labels."""
    with urllib.request.urlopen(f"{OPS}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    total = 0.0
    for line in text.splitlines():
        sample = re.fullmatch(rf"{name}(?:{{(.*)}})? (\S+)", line)
        if sample and all(f'{key}="{value}"' in (sample[1] or "") for key, value in labels.items()):
            total += float(sample[2])
    return total


def billed(task):
    """What the provider charged for a task: (nano-dollars, calls)."""
    line = get_json(f"{SIM}/bill")["by_task"].get(task, {})
    return line.get("nano_usd", 0), line.get("calls", 0)


def settled(task):
    """What the gateway says of a task, in nano-dollars: (settled, held or in doubt)."""
    headers = {"authorization": f"Bearer {CREW_KEY}", "x-bursar-task-id": task}
    request = urllib.request.Request(f"{GATEWAY}/v1/budget", headers=headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        limits = json.load(answer)["limits"]
    usd = next(limit["meters"]["usd"] for limit in limits if limit["limit"] == "task")
    return nano(usd["settled"]), nano(usd["held"]) + nano(usd["in_doubt"])


def nano(dollars):
    whole, _, fraction = dollars.partition(".")
    return int(whole) * 10**9 + int(fraction.ljust(9, "0"))


def books_agree(task, calls):
    """The provider billed `calls` calls, and the gateway settled that bill to the nano-dollar."""
    until = time.monotonic() + SETTLE_SECONDS_MAX
    while True:
        bill, billed_calls = billed(task)
        ours, open_money = settled(task)
        if (ours, open_money, billed_calls) == (bill, 0, calls) or time.monotonic() > until:
            break
        time.sleep(0.02)
    assert billed_calls == calls, f"{billed_calls} calls billed, expected {calls}"
    assert bill > 0, "nothing was billed"
    assert (ours, open_money) == (bill, 0), f"settled {ours}, open {open_money}, billed {bill}"


class Denials:
    """Within `with Denials() as denials`, counts what the gateway refused and the provider saw."""

    def __enter__(self):
        self.before, self.bill = metric("bursar_denials_total"), self.provider_calls()
        return self

    def __exit__(self, *_):
        self.refused = metric("bursar_denials_total") - self.before
        self.reached = self.provider_calls() - self.bill

    @staticmethod
    def provider_calls():
        bill = get_json(f"{SIM}/bill")
        return bill["calls"] + bill["refused"]


def check_message(message):
    """A refusal's text names the limit and the money, and nothing that a client would take for a retry."""
    assert "$" in message or "turn" in message, message
    for word in ("429", "rate limit", "rate_limit", "too many requests"):
        assert word not in message.lower(), message
