"""A multi-agent program's spans, as Arize Phoenix and MLflow show them: both are started here, get the spans
over OTLP, and are asked for the tree through their own APIs. What they tell is compared, parent by parent, with what
the program did, and their tokens and cost with what it was told and billed.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

from suite import case, get_json, main
from world import CREW_KEY, World, free_ports

# The servers import half of Python before they listen.
READY_SECONDS_MAX = 300
ARRIVE_SECONDS_MAX = 60

# Runs the words it is given, in a session with what these start. All of it ends with them, and with the suite, however
# that does: then the pipe closes on which this waits.
WATCH = """
import os, signal, subprocess, sys, threading

def end():
    os.killpg(0, signal.SIGKILL)

child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
signal.signal(signal.SIGTERM, lambda *_: None)
threading.Thread(target=lambda: (child.wait(), end()), daemon=True).start()
sys.stdin.read()
end()
"""


class Server:
    """A child process that is ready once `url` answers, and gone at the end."""

    def __init__(self, name, words, directory, url, **environment):
        self.log = pathlib.Path(directory) / f"{name}.log"
        self.url = url
        with open(self.log, "wb") as log:
            self.child = subprocess.Popen(
                [sys.executable, "-c", WATCH, sys.executable, "-m", *words],
                stdin=subprocess.PIPE,
                env=dict(os.environ, **environment),
                cwd=directory,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait(self):
        until = time.monotonic() + READY_SECONDS_MAX
        while True:
            try:
                with urllib.request.urlopen(self.url, timeout=5):
                    return
            except (urllib.error.URLError, OSError) as error:
                if self.child.poll() is not None or time.monotonic() > until:
                    tail = self.log.read_text(errors="replace")[-3000:]
                    raise RuntimeError(f"{self.url}: {error}\n{tail}") from error
                time.sleep(0.2)

    def stop(self):
        # The session: some start workers of their own.
        for signal, seconds in ((15, 10), (9, 10)):
            try:
                os.killpg(self.child.pid, signal)
                self.child.wait(timeout=seconds)
                return
            except (ProcessLookupError, subprocess.TimeoutExpired):
                pass


def post(url, body, headers=()):
    headers = {"content-type": "application/json", **dict(headers)}
    request = urllib.request.Request(url, data=json.dumps(body).encode(), headers=headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer), answer.headers


class Program:
    """The truth: which call was made by which stay of which agent, and by whom that had been entered."""

    def __init__(self, gateway, task):
        self.gateway, self.task = gateway, task
        # By request: the stays above the call, innermost first, its tokens, and what it cost.
        self.calls = {}
        # By request: what was said, and what was answered.
        self.said = {}
        self.lock = threading.Lock()

    def call(self, stays, **more):
        agent, parent = stays[0], stays[1] if len(stays) > 1 else None
        headers = {
            "authorization": f"Bearer {CREW_KEY}",
            "x-bursar-task-id": self.task,
            "x-bursar-agent-id": agent.split("#")[0],
            "x-bursar-agent-role": "worker" if parent else "lead",
            "baggage": f"gen_ai.agent.call.id={urllib.parse.quote(agent)}",
        }
        if parent:
            headers["x-bursar-parent-agent-id"] = parent.split("#")[0]
        words = f"secret words of {agent}"
        body = {
            "model": "sim-cheap",
            "max_tokens": 60,
            "messages": [{"role": "user", "content": words}],
            **more,
        }
        answer, head = post(f"{self.gateway}/v1/chat/completions", body, headers)
        usage = answer["usage"]
        with self.lock:
            answered = answer["choices"][0]["message"]["content"]
            self.said[head["x-bursar-request-id"]] = (words, answered)
            self.calls[head["x-bursar-request-id"]] = (
                stays,
                (usage["prompt_tokens"], usage["completion_tokens"]),
                float(head["x-bursar-cost-usd"]),
            )
        return answer

    def run(self):
        lead = ("lead#1",)
        self.call(lead)
        at_once = threading.Barrier(2)

        def research(stay):
            at_once.wait(timeout=30)
            self.call((stay, *lead), model="sim-slow")
            self.call((stay, *lead))

        threads = [threading.Thread(target=research, args=(f"researcher#{n}",)) for n in (1, 2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
        self.call(lead)
        again = ("researcher#3", *lead)
        self.call(again)
        self.call(("reader#1", *again))
        self.call(again)
        self.call(lead)
        assert len(self.calls) == 10, len(self.calls)


class Tree:
    """Spans as a backend shows them: id -> (parent, name, attributes)."""

    def __init__(self, spans):
        self.spans = spans

    def stays(self, span):
        """The stays above a span, innermost first, then what is above these."""
        stays, top = [], None
        parent = self.spans[span][0]
        while parent:
            parent, name, attributes = self.spans[parent]
            top = name
            if name.startswith("invoke_agent"):
                stays.append(attributes["gen_ai.agent.call.id"])
        return tuple(stays), top

    def check(self, program, tokens, cost, told=False):
        calls = {
            attributes["bursar.request_id"]: span
            for span, (_, name, attributes) in self.spans.items()
            if name.startswith("chat ")
        }
        assert calls.keys() == program.calls.keys(), f"{len(calls)} of {len(program.calls)} calls"
        for request, (stays, used, price) in program.calls.items():
            span = calls[request]
            assert self.stays(span) == (stays, f"task {program.task}"), (stays, self.stays(span))
            assert tokens(span) == used, (tokens(span), used)
            assert abs(cost(span) - price) < 1e-12, (cost(span), price)
        for _, (_, name, attributes) in self.spans.items():
            for tag in ("user_task_id", "agent_id", "agent_role", "parent_agent_id", "session.id"):
                assert attributes.get(tag), f"{tag} of {name}"
            assert attributes["user_task_id"] == program.task
        names = sorted(name for _, name, _ in self.spans.values())
        assert names.count("invoke_agent researcher") == 3, names
        assert names.count(f"task {program.task}") == 1, names
        root = next(attributes for _, name, attributes in self.spans.values() if name.startswith("task "))
        inclusive = sum(price for _, _, price in program.calls.values())
        assert abs(root["bursar.inclusive_cost_usd"] - inclusive) < 1e-9
        was_told = "secret words" in json.dumps(self.spans)
        assert was_told == told, f"prompts: told {was_told}, asked for {told}"


def until_whole(read, program):
    """The spans of the program's trace, once its task's is among them: it is exported last."""
    until = time.monotonic() + ARRIVE_SECONDS_MAX
    spans = {}
    while time.monotonic() < until:
        spans = read()
        if any(name == f"task {program.task}" for _, name, _ in spans.values()):
            return Tree(spans)
        time.sleep(0.5)
    raise AssertionError(f"only {sorted(name for _, name, _ in spans.values())}")


def flat(attributes, above=""):
    """Phoenix nests attributes by their dots."""
    found = {}
    for key, value in attributes.items():
        name = f"{above}{key}"
        if isinstance(value, dict):
            found |= flat(value, f"{name}.")
        else:
            found[name] = value
    return found


class Phoenix:
    def __init__(self, directory):
        self.http, self.grpc = free_ports(2)
        base = f"http://127.0.0.1:{self.http}"
        self.base = base
        self.server = Server(
            "phoenix",
            ["phoenix.server.main", "serve"],
            directory,
            f"{base}/healthz",
            PHOENIX_WORKING_DIR=str(directory),
            PHOENIX_HOST="127.0.0.1",
            PHOENIX_PORT=str(self.http),
            PHOENIX_GRPC_PORT=str(self.grpc),
            PHOENIX_TELEMETRY_ENABLED="false",
        )

    def exporter(self, protocol):
        port = self.grpc if protocol == "grpc" else self.http
        return f"""
[[trace.exporter]]
kind = "phoenix"
endpoint = "http://127.0.0.1:{port}"
protocol = "{protocol}"
project = "crew-{protocol}"
content = {"true" if protocol == "grpc" else "false"}
"""

    QUERY = """
query ($first: Int!) { projects { edges { node { name spans(first: $first) { edges { node {
  name spanId parentId spanKind statusCode attributes tokenCountPrompt tokenCountCompletion
  input { value } output { value }
} } } } } } }
"""

    def spans(self, project):
        answer, _ = post(f"{self.base}/graphql", {"query": self.QUERY, "variables": {"first": 1000}})
        assert not answer.get("errors"), answer
        self.shown = {}
        for edge in answer["data"]["projects"]["edges"]:
            if edge["node"]["name"] == project:
                for span in edge["node"]["spans"]["edges"]:
                    self.shown[span["node"]["spanId"]] = span["node"]
        return {
            span: (shown["parentId"], shown["name"], flat(json.loads(shown["attributes"])))
            for span, shown in self.shown.items()
        }

    def tokens(self, span):
        shown = self.shown[span]
        return shown["tokenCountPrompt"], shown["tokenCountCompletion"]


class Mlflow:
    def __init__(self, directory):
        (port,) = free_ports(1)
        self.base = f"http://127.0.0.1:{port}"
        words = ["mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
        words += ["--backend-store-uri", f"sqlite:///{directory}/mlflow.db"]
        words += ["--artifacts-destination", f"{directory}/artifacts"]
        self.server = Server("mlflow", words, directory, f"{self.base}/health")

    def exporter(self):
        return f"""
[[trace.exporter]]
kind = "mlflow"
endpoint = "{self.base}"
project = "0"
"""

    def spans(self):
        location = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": "0"}}
        url = f"{self.base}/api/3.0/mlflow/traces/search"
        found, _ = post(url, {"locations": [location], "max_results": 10})
        spans = {}
        self.traces = found.get("traces", [])
        for trace in self.traces:
            wanted = urllib.parse.urlencode({"trace_id": trace["trace_id"]})
            shown = get_json(f"{self.base}/api/3.0/mlflow/traces/get?{wanted}&allow_partial=true")
            for span in shown["trace"]["spans"]:
                attributes = {pair["key"]: value(pair["value"]) for pair in span["attributes"]}
                spans[span["span_id"]] = (span.get("parent_span_id") or None, span["name"], attributes)
        return spans


def value(said):
    """An OTLP value as JSON; MLflow keeps texts as JSON within it."""
    kind, told = next(iter(said.items()))
    if kind == "int_value":
        return int(told)
    if kind != "string_value":
        return told
    try:
        return json.loads(told)
    except ValueError:
        return told


def run():
    """Starts both, and runs the program before each gateway: one tells Phoenix over HTTP and MLflow, the other
    Phoenix over gRPC, with what is said (it takes a span once, whoever sends it)."""
    with tempfile.TemporaryDirectory(prefix="bursar-traces-") as directory:
        places = [pathlib.Path(directory) / name for name in ("phoenix", "mlflow")]
        for place in places:
            place.mkdir()
        phoenix, mlflow = Phoenix(places[0]), Mlflow(places[1])
        try:
            phoenix.server.wait()
            mlflow.server.wait()
            programs = []
            over_http = phoenix.exporter("http/protobuf") + mlflow.exporter()
            for exporters in (over_http, phoenix.exporter("grpc")):
                more = f'\n[trace]\nidle = "3s"\n{exporters}'
                with World(os.environ["BINARY"], more=more) as world:
                    programs.append(Program(f"http://127.0.0.1:{world.agents}", "seen-through"))
                    programs[-1].run()
                # Stopped in good order, the gateway has told all there was.
            yield phoenix, mlflow, programs
        finally:
            phoenix.server.stop()
            mlflow.server.stop()


STATE = run()
PHOENIX, MLFLOW, PROGRAMS = None, None, None


@case
def both_servers_listen_and_the_program_runs():
    global PHOENIX, MLFLOW, PROGRAMS
    PHOENIX, MLFLOW, PROGRAMS = next(STATE)


@case
def phoenix_shows_the_tree_of_the_program():
    tree = until_whole(lambda: PHOENIX.spans("crew-http/protobuf"), PROGRAMS[0])
    tree.check(PROGRAMS[0], PHOENIX.tokens, lambda span: tree.spans[span][2]["llm.cost.total"])
    kinds = {PHOENIX.shown[span]["spanKind"] for span in tree.spans}
    assert kinds == {"chain", "agent", "llm"}, kinds


@case
def phoenix_shows_the_same_over_grpc():
    tree = until_whole(lambda: PHOENIX.spans("crew-grpc"), PROGRAMS[1])
    tree.check(PROGRAMS[1], PHOENIX.tokens, lambda span: tree.spans[span][2]["llm.cost.total"], told=True)
    # This one is told what is said, and shows it as its own.
    shown = 0
    for span, (_, _, attributes) in tree.spans.items():
        said = PROGRAMS[1].said.get(attributes.get("bursar.request_id"))
        if PHOENIX.shown[span]["spanKind"] == "llm":
            sides = [json.loads(PHOENIX.shown[span][side]["value"]) for side in ("input", "output")]
            assert tuple(side[-1]["content"] for side in sides) == said, (sides, said)
            shown += 1
    assert shown == len(PROGRAMS[1].calls), shown


@case
def mlflow_shows_the_tree_of_the_program():
    program = PROGRAMS[0]
    tree = until_whole(MLFLOW.spans, program)
    assert len(MLFLOW.traces) == 1, "one task, one trace"

    def tokens(span):
        attributes = tree.spans[span][2]
        return attributes["gen_ai.usage.input_tokens"], attributes["gen_ai.usage.output_tokens"]

    tree.check(program, tokens, lambda span: tree.spans[span][2]["bursar.cost_usd"])
    # What MLflow itself makes of the tokens: the sum over the trace, each once.
    said = MLFLOW.traces[0].get("trace_metadata", {}).get("mlflow.trace.tokenUsage")
    used = json.loads(said) if said else {}
    both = [sum(used[at] for _, used, _ in program.calls.values()) for at in (0, 1)]
    assert [used.get("input_tokens"), used.get("output_tokens")] == both, (said, both)


@case
def everything_is_taken_down():
    STATE.close()


if __name__ == "__main__":
    try:
        main("traces")
    finally:
        STATE.close()
