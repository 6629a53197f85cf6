"""Crews of real frameworks that go round in circles, and the people who stop them or let them go on.

A suite makes crews of one framework and hands them to `cases`; what happens to them is the same for
all. Each case has a gateway and simulated providers of its own, for one kills its gateway. Standard
library only.
"""

import base64
import hashlib
import hmac
import http.server
import json
import os
import subprocess
import threading
import time
import urllib.error
import urllib.request

from world import CREW_KEY, World

BINARY = os.environ["BINARY"]
# A crew that has not ended by then hangs. This machine may be busy.
CREW_SECONDS_MAX = 90
WAIT_SECONDS_MAX = 60
# What a crew does that nobody stops, in steps of each model; above what any case lets pass.
WITHOUT_END = 200
# By then the head of a stream that is held open has gone.
HEAD_SECONDS = 6
# Calls within which each of these loops is found.
CALLS_MAX = 30
ANSWER = "The purse lies in the third room."
# Cases that run side by side: they wait most of their time.
AT_ONCE = 4
SIGNING_KEY = b"a key for the receiver of one test run"
os.environ["SUITE_WEBHOOK_SECRET"] = "whsec_" + base64.b64encode(SIGNING_KEY).decode()

ASKING = """\
[repeat]
action = "escalate"

[error_retry]
action = "escalate"

[cycle]
action = "escalate"

[rounds]
action = "escalate"

[no_progress]
action = "escalate"
"""

BACKSTOP = """\
[[limit]]
name = "task"
per = ["task"]
usd = "5.00"
"""
SMALL_CAP = BACKSTOP.replace("5.00", "0.004")


def post(url, body, headers=()):
    headers = {"content-type": "application/json", **dict(headers)}
    request = urllib.request.Request(url, data=json.dumps(body).encode(), headers=headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def get(url, headers=()):
    with urllib.request.urlopen(urllib.request.Request(url, headers=dict(headers)), timeout=30) as answer:
        return json.load(answer)


def nano(dollars):
    whole, _, fraction = dollars.partition(".")
    return int(whole) * 10**9 + int(fraction.ljust(9, "0"))


def until(what, look):
    """What `look` gives once it gives something."""
    end = time.monotonic() + WAIT_SECONDS_MAX
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"waited in vain for {what}")


class Scene(World):
    """A gateway, simulated providers, and who watches both."""

    def __init__(self, limits=BACKSTOP, loops="", more=""):
        super().__init__(BINARY, limits=limits, loops=loops, more=more)
        self.api = f"http://127.0.0.1:{self.ops}/api"
        self.bill = f"http://127.0.0.1:{self.sim}/bill"
        self.url = f"http://127.0.0.1:{self.agents}"
        self.key = CREW_KEY

    def base_url(self, crew):
        """Where a crew's clients call; it may say the task."""
        path = f"/task/{crew.task}" if crew.tells == "path" else ""
        return f"{self.url}{path}/v1"

    def told(self, model, *steps):
        """The simulated model is to answer so, and the last for ever: a text, or a tool and its
        arguments."""
        steps = [
            {"text": step} if isinstance(step, str) else dict(zip(("tool", "arguments"), step))
            for step in steps
        ]
        post(f"http://127.0.0.1:{self.sim}/scenario", {"model": model, "steps": steps})

    def calls(self, task):
        """What reached the provider for this task: calls, and what they cost."""
        line = get(self.bill)["by_task"].get(task, {})
        return line.get("calls", 0), line.get("nano_usd", 0)

    def question(self, task):
        """The question that waits about the task, once there is one."""

        def look():
            waiting = get(f"{self.api}/escalations?state=waiting")["escalations"]
            return next((one for one in waiting if one["task"] == task), None)

        return until(f"a question about {task}", look)

    def decide(self, question, verb, **fields):
        return post(f"{self.api}/escalations/{question}/{verb}", {"by": "suite", **fields})

    def command(self, *words):
        done = subprocess.run(
            [self.binary, *words, "--config", str(self.home / "bursar.toml")],
            capture_output=True,
            text=True,
            timeout=WAIT_SECONDS_MAX,
            env=dict(os.environ, SIM_API_KEY="unused", USER="suite"),
        )
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    def trace(self, task):
        lines = self.command("audit", "trace", task, "--json").splitlines()
        return [json.loads(line) for line in lines]

    def settled(self, task):
        """What the gateway settled under the task's cap: nano-dollars, and whether anything is open."""
        shown = get(f"{self.api}/tasks/{task}?owner=research")
        usd = next(one for one in shown["accounts"] if one["limit"] == "task")["meters"]["usd"]
        return nano(usd["settled"]), nano(usd["held"]) + nano(usd["in_doubt"]) > 0

    def books_agree(self, task, after_a_crash=False):
        """The gateway settled what the provider billed, to the nano-dollar; what was granted before a
        crash may be in doubt."""

        def agree():
            settled, is_open = self.settled(task)
            return settled == self.calls(task)[1] and (after_a_crash or not is_open)

        until(f"equal books: {self.settled(task)}, {self.calls(task)}", agree)
        self.command("audit", "verify")


class Run(threading.Thread):
    """A crew at work, aside."""

    def __init__(self, crew, *words):
        super().__init__(daemon=True)
        self.crew, self.words = crew, words
        self.said = self.error = None
        self.start()

    def run(self):
        try:
            self.said = self.crew(*self.words)
        except BaseException as error:  # noqa: BLE001: whatever it is, the case looks at it
            self.error = error

    def ends(self):
        """Its answer; whatever it raised is raised here."""
        self.join(CREW_SECONDS_MAX)
        assert not self.is_alive(), "the crew hangs"
        if self.error is not None:
            raise self.error
        return self.said

    def fails(self):
        """What it raised."""
        self.join(CREW_SECONDS_MAX)
        assert not self.is_alive(), "the crew hangs"
        assert self.error is not None, f"it ended as if nothing were wrong: {self.said}"
        return self.error


class Receiver:
    """A webhook receiver that checks what it gets, as the Standard Webhooks specification says, and
    passes each event on once."""

    def __init__(self, react):
        self.react, self.seen, self.refused = react, set(), []
        receiver = self

        class Hook(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                why = receiver.take(self.headers, body)
                self.send_response(401 if why else 204)
                self.end_headers()
                if why:
                    receiver.refused.append(why)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
        assert not self.refused, self.refused

    def settings(self):
        url = f"http://127.0.0.1:{self.server.server_address[1]}/bursar"
        return f'\n[escalation]\nwebhook = [{{ url = "{url}", secret = "env:SUITE_WEBHOOK_SECRET" }}]\n'

    def take(self, headers, body):
        """Why a message is refused; `None` if it was taken."""
        ident, at = headers["webhook-id"], headers["webhook-timestamp"]
        signed = f"{ident}.{at}.".encode() + body
        digest = base64.b64encode(hmac.digest(SIGNING_KEY, signed, hashlib.sha256)).decode()
        signatures = [one.partition(",")[2] for one in headers["webhook-signature"].split()]
        if not any(hmac.compare_digest(digest, one) for one in signatures):
            return "a wrong signature"
        if abs(time.time() - int(at)) > 300:
            return "a wrong time"
        if ident not in self.seen:
            self.seen.add(ident)
            threading.Thread(target=self.react, args=(json.loads(body),), daemon=True).start()
        return None


def headers(crew, agent, parent=None):
    """What a crew says of an agent's calls."""
    if crew.tells != "headers":
        return {}
    said = {"x-bursar-agent-id": agent}
    return said | ({"x-bursar-parent-agent-id": parent} if parent else {})


def task_header(crew):
    return {"x-bursar-task-id": crew.task} if crew.tells == "headers" else {}


# What a refusal's message says, for frameworks that pass on nothing else.
WORDS = {
    "loop_detected": "Loop detected",
    "task_suspended": "is suspended",
    "task_budget_exceeded": "The task's budget",
    "turns_exceeded": "The task's cap of",
}


def refused(error, code):
    """The message of the gateway's refusal within what a framework raised."""
    seen, cause = set(), error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        body = getattr(cause, "body", None)
        if isinstance(body, dict) and ("bursar" in body or "bursar" in body.get("error", {})):
            body = body.get("error", body)
            assert body["code"] == code, body
            if code == "loop_detected":
                assert body["bursar"]["calls"] and body["bursar"]["digests"], body
            return body["message"]
        cause = cause.__cause__ or cause.__context__
    assert WORDS[code] in str(error), f"no refusal of the gateway: {error!r}"
    return str(error)


# --- the cases ---------------------------------------------------------------------------------------


def cases(case, new_crew, kinds):
    """Registers all cases for one framework. `new_crew(scene, task, retries)` makes a crew with
    `loop(kind)`, which tells its models to go round for ever, `work()`, which lets them do something
    new each time, `wise()`, which tells them to answer, `run()` and `resume()`, which give its answer;
    `retries` are its client's own, as usual if there are none. `REFUSALS_MAX` are the refusals that a
    crew may meet before it ends, if it is more than one: a parent is told of its child's."""

    for kind in kinds:
        kind_cases(case, new_crew, kind)
    crash_and_cap_cases(case, new_crew, kinds[0])


def kind_cases(case, new_crew, kind):
    """What becomes of one kind of loop."""

    def refused_by_default():
        with Scene() as scene:
            crew = new_crew(scene, "task-deny")
            crew.loop(kind)
            refused(Run(crew.run).fails(), "loop_detected")
            ends_for_good(scene, crew)

    def approved_by_webhook():
        crews = {}

        def react(event):
            if event["type"] == "escalation.opened":
                crews[event["data"]["task"]].wise()
                scene.decide(event["data"]["id"], "approve", why="go on, but end it")

        with Receiver(react) as receiver, Scene(loops=ASKING, more=receiver.settings()) as scene:
            crew = crews["task-hook"] = new_crew(scene, "task-hook")
            crew.loop(kind)
            assert Run(crew.run).ends() == ANSWER
            asked = get(f"{scene.api}/escalations?task=task-hook")["escalations"]
            assert [one["state"] for one in asked] == ["approved"], asked
            until("both messages", lambda: len(receiver.seen) == 2)
            scene.books_agree("task-hook")

    def approved_by_command():
        with Scene(loops=ASKING) as scene:
            crew = new_crew(scene, "task-command")
            crew.loop(kind)
            run = Run(crew.run)
            question = scene.question("task-command")
            assert question["evidence"], question
            before = scene.calls("task-command")
            time.sleep(1)
            assert scene.calls("task-command") == before, "it is not held"
            assert question["id"] in scene.command("escalation", "list")
            crew.wise()
            scene.command("escalation", "approve", question["id"], "--why", "go on, but end it")
            assert run.ends() == ANSWER
            scene.books_agree("task-command")

    def denied_by_a_person():
        with Scene(loops=ASKING) as scene:
            crew = new_crew(scene, "task-no")
            crew.loop(kind)
            run = Run(crew.run)
            question = scene.question("task-no")
            scene.command("escalation", "deny", question["id"], "--why", "enough of it")
            message = refused(run.fails(), "task_suspended")
            assert question["id"] in message and "enough of it" in message, message
            ends_for_good(scene, crew)

    def killed_before_approval():
        with Scene(loops=ASKING) as scene:
            crew = new_crew(scene, "task-kill", retries=8)
            crew.loop(kind)
            run = Run(crew.run)
            question = scene.question("task-kill")["id"]
            scene.kill_gateway()
            scene.start_gateway()
            assert scene.question("task-kill")["id"] == question, "another question"
            crew.wise()
            approve_twice(scene, question)
            assert run.ends() == ANSWER
            asked = get(f"{scene.api}/escalations?task=task-kill")["escalations"]
            assert [one["state"] for one in asked] == ["approved"], asked
            scene.books_agree("task-kill", after_a_crash=True)

    case(f"{kind} loop: refused by default, and the run ends", refused_by_default)
    case(f"{kind} loop: approved by a webhook receiver, it ends well", approved_by_webhook)
    case(f"{kind} loop: approved by command, it ends well", approved_by_command)
    case(f"{kind} loop: denied by a person, the run ends", denied_by_a_person)
    case(f"{kind} loop: kill -9 before the approval, it ends well", killed_before_approval)


def late_cases(case, new_crew, kind):
    """A stream whose head has gone before somebody decides: comments keep it alive until then."""

    def held(scene, task):
        crew = new_crew(scene, task)
        crew.loop(kind)
        run = Run(crew.run)
        question = scene.question(task)["id"]
        time.sleep(HEAD_SECONDS)
        return crew, run, question

    def approved_late():
        with Scene(loops=ASKING) as scene:
            crew, run, question = held(scene, "task-late")
            crew.wise()
            scene.command("escalation", "approve", question)
            assert run.ends() == ANSWER
            scene.books_agree("task-late")

    def denied_late():
        with Scene(loops=ASKING) as scene:
            crew, run, question = held(scene, "task-late-no")
            scene.command("escalation", "deny", question, "--why", "enough of it")
            assert "enough of it" in str(run.fails()), run.error
            ends_for_good(scene, crew)

    def killed_late():
        """Nothing can try a stream again that has begun: the run fails, and goes on later."""
        with Scene(loops=ASKING) as scene:
            crew, run, question = held(scene, "task-late-kill")
            scene.kill_gateway()
            run.fails()
            scene.start_gateway()
            crew.wise()
            approve_twice(scene, question)
            assert Run(crew.resume).ends() == ANSWER
            scene.books_agree("task-late-kill", after_a_crash=True)

    case("approved after the head, it ends well", approved_late)
    case("denied after the head, the run ends", denied_late)
    case("kill -9 after the head: resumed after approval", killed_late)


def crash_and_cap_cases(case, new_crew, kind):
    """A gateway that is away for longer, and caps."""

    def gone_while_the_gateway_is_down():
        """The crew's own retries are over before the gateway is back."""
        with Scene(loops=ASKING) as scene:
            crew = new_crew(scene, "task-down")
            crew.loop(kind)
            run = Run(crew.run)
            question = scene.question("task-down")["id"]
            scene.kill_gateway()
            run.fails()
            scene.start_gateway()
            crew.wise()
            scene.command("escalation", "approve", question)
            assert Run(crew.resume).ends() == ANSWER
            scene.books_agree("task-down", after_a_crash=True)

    def a_cap_and_a_top_up():
        with Scene(limits=SMALL_CAP) as scene:
            crew = new_crew(scene, "task-cap")
            crew.work()
            refused(Run(crew.run).fails(), "task_budget_exceeded")
            ends_for_good(scene, crew)
            scene.command("task", "top-up", "task-cap", "--usd", "1.00", "--owner", "research")
            crew.wise()
            assert Run(crew.resume).ends() == ANSWER
            scene.books_agree("task-cap")

    def a_cap_that_asks_and_kill():
        limits = SMALL_CAP + 'on_exceed = "escalate"\n'
        with Scene(limits=limits) as scene:
            crew = new_crew(scene, "task-ask", retries=8)
            crew.work()
            run = Run(crew.run)
            question = scene.question("task-ask")["id"]
            scene.kill_gateway()
            scene.start_gateway()
            crew.wise()
            approve_twice(scene, question, usd="5.00")
            assert run.ends() == ANSWER
            shown = get(f"{scene.api}/tasks/task-ask?owner=research")
            (account,) = [one for one in shown["accounts"] if one["limit"] == "task"]
            assert account["meters"]["usd"]["cap"] == "5.004", account
            scene.books_agree("task-ask", after_a_crash=True)

    case("kill -9, and the run fails: resumed after approval", gone_while_the_gateway_is_down)
    case("a cap refuses, a top-up, resumed", a_cap_and_a_top_up)
    case("a cap asks, kill -9, raised once", a_cap_that_asks_and_kill)


def same_tree(seen, agents):
    """Whether agents that the gateway gave names to stand to one another as these do."""

    def shape(pairs, agent):
        return sorted(shape(pairs, child) for child, parent in pairs if parent == agent)

    return len(seen) == len(agents) and shape(seen, None) == shape(agents, None)


def attribution_cases(case, new_crew, agents):
    """What is known of the calls of a crew that loops: `agents` and their parents, if it says so."""

    def known(tells):
        with Scene() as scene:
            crew = new_crew(scene, "task-whose", tells=tells)
            crew.loop("tool")
            run = Run(crew.run)
            run.join(CREW_SECONDS_MAX)
            # What a crew does not say is worked out.
            tasks = [one["task"] for one in get(f"{scene.api}/tasks")["tasks"]]
            assert len(tasks) == 1, tasks
            until("the refusal", lambda: denials(scene, tasks[0]))
            (refused,) = denials(scene, tasks[0])
            assert refused["limit"] == "repeat", refused
            rows = [row["call"] for row in scene.trace(tasks[0]) if "call" in row]
            return tasks[0], {(row.get("agent"), row.get("parent")) for row in rows}

    def headers_say_it():
        assert known("headers") == ("task-whose", agents)

    def the_path_says_the_task():
        task, seen = known("path")
        assert task == "task-whose" and same_tree(seen, agents), (task, seen)

    def nothing_is_said():
        task, seen = known("nothing")
        assert task.startswith("task-") and same_tree(seen, agents), (task, seen)

    case("headers say task, agent and parent; the loop is refused", headers_say_it)
    case("the base URL says the task alone; the loop is refused", the_path_says_the_task)
    case("nothing is said; the loop is refused", nothing_is_said)


def ends_for_good(scene, crew):
    """No call after the refusal, whose crew did not try it again, and books that agree."""
    before = scene.calls(crew.task)
    assert 0 < before[0] < CALLS_MAX, before
    until("the refusal in the journal", lambda: denials(scene, crew.task))
    time.sleep(1)
    denied = denials(scene, crew.task)
    assert len(denied) <= getattr(crew, "REFUSALS_MAX", 1), f"it came again: {denied}"
    assert scene.calls(crew.task) == before, "the bill goes on"
    scene.books_agree(crew.task)


def approve_twice(scene, question, **fields):
    """Two at once, and one later: it applies once."""
    answers = []
    once = lambda: answers.append(scene.decide(question, "approve", **fields))
    both = [threading.Thread(target=once) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    once()
    assert [one["applied"] for one in answers].count(True) == 1, answers


def denials(scene, task):
    calls = [row["call"] for row in scene.trace(task) if "call" in row]
    return [call for call in calls if call["ending"] == "denied"]
