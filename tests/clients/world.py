"""A gateway and simulated providers, each on a random port of loopback, in a directory of their own.

Standard library only. `with World(binary) as world:` starts both and takes both down again, whatever
happens in between; `world.environment()` is what a client suite is told.
"""

import hashlib
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

# Known only to the gateway of one test run, which listens on loopback.
CREW_KEY = "bursar-test-crew-5b1f0c7e9a2d4863"
SLOW_KEY = "bursar-test-slow-0d9e8c7b6a5f4132"

START_SECONDS_MAX = 30

CONFIG = """\
policies = "policies"

[listen]
agents = "127.0.0.1:{agents}"
ops = "127.0.0.1:{ops}"

[store]
url = "sqlite:data/bursar.db"

[[provider]]
name = "openai"
kind = "openai"
base_url = "http://127.0.0.1:{sim}/v1"
api_key = "env:SIM_API_KEY"
forward_attribution = true

[[provider]]
name = "anthropic"
kind = "anthropic"
base_url = "http://127.0.0.1:{sim}"
api_key = "env:SIM_API_KEY"
forward_attribution = true

[[provider]]
name = "google"
kind = "gemini"
base_url = "http://127.0.0.1:{sim}"
api_key = "env:SIM_API_KEY"
models = ["never"]
forward_attribution = true

[[provider]]
name = "plain"
kind = "openai"
base_url = "http://127.0.0.1:{sim}/v1"
api_key = "env:SIM_API_KEY"
models = ["plain-*"]
dialects = ["openai-chat"]
forward_attribution = true
"""

LIMITS = """\
[[limit]]
name = "task"
per = ["task"]
usd = "1.00"
turns = 500

[[limit]]
name = "agent turns"
per = ["task", "agent"]
turns = 400

[[limit]]
name = "a person is asked"
match = { task = "*-ask-*" }
per = ["task"]
turns = 1
on_exceed = "escalate"

[[limit]]
name = "owner per day"
per = ["owner"]
window = { every = "day", timezone = "UTC" }
usd = "1000.00"
"""

IDENTITIES = """\
[[identity]]
name = "crew"
owner = "research"
key_sha256 = "{crew}"
may_say_on_behalf_of = true

[[identity]]
name = "slow"
owner = "research"
key_sha256 = "{slow}"
models = ["sim-*"]
requests_per_minute = 60
"""


def hold_ports(count):
    """Sockets on ports that nobody else is given while they are open, and that a server of ours may listen on
    all the same: they do not listen, and both sides allow the address to be used again."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        each.bind(("127.0.0.1", 0))
    return sockets


def port_of(held):
    return held.getsockname()[1]


def free_ports(count):
    """Ports that nobody listens on now. All are held until all are known, so that they differ."""
    held = hold_ports(count)
    ports = [port_of(each) for each in held]
    for each in held:
        each.close()
    return ports


class World:
    """`limits` and `loops` are the policies of those names, `more` is added to the configuration."""

    def __init__(self, binary, limits=LIMITS, loops="", more=""):
        self.binary = binary
        self.limits, self.loops, self.more = limits, loops, more
        self.directory = tempfile.TemporaryDirectory(prefix="bursar-clients-")
        self.home = pathlib.Path(self.directory.name)
        self.held = hold_ports(3)
        self.agents, self.ops, self.sim = map(port_of, self.held)
        self.children = []

    def __enter__(self):
        try:
            self.configure()
            self.start("sim", ["sim", "--listen", f"127.0.0.1:{self.sim}"])
            self.wait(f"http://127.0.0.1:{self.sim}/bill")
            self.start_gateway()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for _, child in reversed(self.children):
            if child.poll() is None:
                child.send_signal(signal.SIGTERM)
            try:
                child.wait(timeout=10)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        for each in self.held:
            each.close()
        self.directory.cleanup()

    def configure(self):
        digest = lambda key: hashlib.sha256(key.encode()).hexdigest()
        (self.home / "policies").mkdir()
        (self.home / "data").mkdir()
        config = CONFIG.format(agents=self.agents, ops=self.ops, sim=self.sim)
        (self.home / "bursar.toml").write_text(config + self.more)
        (self.home / "policies/limits.toml").write_text(self.limits)
        if self.loops:
            (self.home / "policies/loops.toml").write_text(self.loops)
        identities = IDENTITIES.format(crew=digest(CREW_KEY), slow=digest(SLOW_KEY))
        (self.home / "policies/identities.toml").write_text(identities)

    def start_gateway(self):
        self.start("gateway", ["serve", "--config", str(self.home / "bursar.toml")])
        self.wait(f"http://127.0.0.1:{self.ops}/readyz")

    def kill_gateway(self):
        """`kill -9`."""
        at = next(at for at, (name, _) in enumerate(self.children) if name == "gateway")
        _, child = self.children.pop(at)
        child.kill()
        child.wait()

    def start(self, name, words):
        log = open(self.home / f"{name}.log", "ab")
        environment = dict(os.environ, SIM_API_KEY="sk-sim-clients")
        child = subprocess.Popen(
            [self.binary, *words], stdout=log, stderr=log, env=environment, cwd=self.home
        )
        log.close()
        self.children.append((name, child))

    def wait(self, url):
        """Until `url` answers; a child that ends first is an error with its log."""
        until = time.monotonic() + START_SECONDS_MAX
        while True:
            try:
                with urllib.request.urlopen(url, timeout=2):
                    return
            except (urllib.error.URLError, OSError) as error:
                ended = [name for name, child in self.children if child.poll() is not None]
                if ended or time.monotonic() > until:
                    raise RuntimeError(f"{url}: {error}\n{self.logs()}") from error
                time.sleep(0.02)

    def logs(self):
        texts = []
        for name, _ in self.children:
            text = (self.home / f"{name}.log").read_text(errors="replace")
            texts.append(f"--- {name}\n{text[-4000:]}")
        return "\n".join(texts)

    def environment(self):
        return {
            "BINARY": self.binary,
            "GATEWAY": f"http://127.0.0.1:{self.agents}",
            "OPS": f"http://127.0.0.1:{self.ops}",
            "SIM": f"http://127.0.0.1:{self.sim}",
            "CREW_KEY": CREW_KEY,
            "SLOW_KEY": SLOW_KEY,
        }
