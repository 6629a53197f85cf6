#!/usr/bin/env python3
"""Runs the client suites against one gateway and one set of simulated providers.

    run.py BINARY HOME [--all | SUITE…]

Without names all suites run but those whose packages take long to install; `--all` runs these too.
BINARY is `bursar`; HOME keeps what is installed (a venv for each pinned requirements file, the npm
packages) from one run to the next. Ends with `N passed, N failed`; names each suite that it skipped
and why. Leaves nothing running.
"""

import concurrent.futures
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import threading
import venv

from world import World

HERE = pathlib.Path(__file__).parent
# A suite takes a minute at most; a hung one is ended, so that the run ends too. This machine may be busy.
SUITE_SECONDS_MAX = 600
# The oldest Python for which all pinned packages are made.
PYTHON_MIN = (3, 11)


class Skip(Exception):
    """Why a suite cannot run here."""


def python_with(requirements, before=None):
    """A venv's interpreter with exactly these packages; made once for each content of the file. `before` is the
    first Python that they do not take."""

    def prepare(home):
        if sys.version_info < PYTHON_MIN:
            raise Skip("its packages need Python {}.{} or later".format(*PYTHON_MIN))
        if before and sys.version_info >= before:
            raise Skip("its packages need a Python before {}.{}".format(*before))
        text = (HERE / requirements).read_bytes()
        place = home / f"venv-{hashlib.sha256(text).hexdigest()[:12]}"
        python = place / "bin/python"
        if not (place / "complete").exists():
            shutil.rmtree(place, ignore_errors=True)
            venv.create(place, with_pip=True)
            pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*pip, "-r", HERE / requirements], check=True)
            (place / "complete").touch()
        return [str(python)], {}

    return prepare


def node_with(folder):
    """Node with the packages of the folder's lock file."""

    def prepare(home):
        if not shutil.which("node") or not shutil.which("npm"):
            raise Skip("node and npm are not installed")
        text = (HERE / folder / "package-lock.json").read_bytes()
        place = home / f"npm-{hashlib.sha256(text).hexdigest()[:12]}"
        if not (place / "complete").exists():
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir(parents=True)
            for name in ("package.json", "package-lock.json"):
                shutil.copy(HERE / folder / name, place)
            install = ["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"]
            subprocess.run(install, cwd=place, check=True)
            (place / "complete").touch()
        return ["node"], {"NODE_HOME": str(place)}

    return prepare


def python_beside(prepare_node):
    """This interpreter, for a suite that runs programs of Node."""

    def prepare(home):
        _, environment = prepare_node(home)
        return [sys.executable], environment

    return prepare


def told(prepare, **environment):
    """The same, with these variables."""

    def more(home):
        runner, extra = prepare(home)
        return runner, extra | environment

    return more


def shell(_):
    if not shutil.which("curl"):
        raise Skip("curl is not installed")
    return ["bash"], {}


FRAMEWORKS = python_with("requirements-frameworks.txt")
CREWAI = python_with("requirements-crewai.txt", before=(3, 14))

# The script, what it needs, and the words that it is given.
SUITES = {
    "openai-python": ("openai_python.py", python_with("requirements.txt")),
    "openai-python-2": ("openai_python.py", python_with("requirements-openai2.txt")),
    "anthropic-python": ("anthropic_python.py", python_with("requirements.txt")),
    "openai-translated": ("openai_translated.py", python_with("requirements.txt")),
    "openai-translated-2": ("openai_translated.py", python_with("requirements-openai2.txt")),
    "openai-google": ("openai_translated.py", told(python_with("requirements.txt"), TARGET="google")),
    "anthropic-translated": ("anthropic_translated.py", python_with("requirements.txt")),
    "google-genai": ("google_genai.py", python_with("requirements-google.txt")),
    "boto3": ("bedrock_boto3.py", python_with("requirements-boto3.txt")),
    "openai-socket": ("openai_socket.py", FRAMEWORKS),
    "openai-node": ("openai_node.mjs", node_with(".")),
    "curl": ("curl.sh", shell),
    "langgraph": ("langgraph_crew.py", FRAMEWORKS),
    "openai-agents": ("openai_agents_crew.py", FRAMEWORKS),
    "anthropic-agents": ("anthropic_crew.py", FRAMEWORKS),
    "autogen": ("autogen_crew.py", FRAMEWORKS),
    "pydantic-ai": ("pydantic_ai_crew.py", FRAMEWORKS),
    "examples": ("examples.py", FRAMEWORKS),
    "trees": ("trees.py", FRAMEWORKS, "LangGraph", "OpenAI Agents SDK", "Claude"),
    "trees-crewai": ("trees.py", CREWAI),
    "hop": ("hop.py", FRAMEWORKS),
}

# What takes longer.
LARGE = {
    "crewai": ("crewai_crew.py", CREWAI),
    "trees-more": ("trees.py", FRAMEWORKS, "AutoGen", "Pydantic AI"),
    "trees-openai-2": ("trees.py", python_with("requirements-frameworks-openai2.txt")),
    "trees-semantic-kernel": ("trees.py", python_with("requirements-semantic-kernel.txt")),
    "trees-openai-swarm": ("trees.py", python_with("requirements-openai-swarm.txt")),
    "trees-js": ("trees.py", python_beside(node_with("frameworks-js"))),
    "traces": ("traces.py", python_with("requirements-traces.txt")),
}

# A developer's own settings must not reach the suites, nor a proxy loopback.
FOREIGN = (
    "OPENAI_", "ANTHROPIC_", "GOOGLE_", "GEMINI_", "AWS_", "BURSAR_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY",
)


def chosen(wanted):
    if wanted == ["--all"]:
        return [*SUITES, *LARGE]
    return wanted or SUITES


class Places:
    """What the suites need, installed one after the other beside the suites that run already."""

    def __init__(self, home, names):
        prepared = list(dict.fromkeys((SUITES | LARGE)[name][1] for name in names))
        installing = concurrent.futures.ThreadPoolExecutor(1)
        self.futures = {prepare: installing.submit(prepare, home) for prepare in prepared}
        installing.shutdown(wait=False)

    def ready(self, name):
        """The interpreter and the environment of a suite, once they are there."""
        return self.futures[(SUITES | LARGE)[name][1]].result()


def run_suite(words, environment, scored):
    """Runs one suite, passing its lines on: (passed, failed). Keeps those that begin with `scored`."""
    child = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True, cwd=HERE)
    alarm = threading.Timer(SUITE_SECONDS_MAX, child.kill)
    alarm.start()
    passed = failed = 0
    with child:
        for line in child.stdout:
            print(f"  {line}", end="", flush=True)
            passed += line.startswith("ok ")
            failed += line.startswith("FAILED ")
            if line.startswith("scored "):
                scored.append(line.removeprefix("scored ").rstrip())
    alarm.cancel()
    if child.returncode != 0 and failed == 0:
        print(f"  FAILED {' '.join(words[1:])}: ended with {child.returncode}")
        failed = 1
    if passed + failed == 0:
        print(f"  FAILED {' '.join(words[1:])}: no case ran")
        failed = 1
    return passed, failed


def main():
    binary, home, wanted = str(pathlib.Path(sys.argv[1]).resolve()), pathlib.Path(sys.argv[2]).resolve(), sys.argv[3:]
    home.mkdir(parents=True, exist_ok=True)
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.upper().startswith(FOREIGN)
    }
    passed = failed = 0
    scored = []
    names = list(chosen(wanted))
    places = Places(home, names)
    with World(binary) as world:
        for name in names:
            script, _, *words = (SUITES | LARGE)[name]
            try:
                runner, extra = places.ready(name)
            except Skip as why:
                print(f"  skipped {name}: {why}")
                continue
            except subprocess.CalledProcessError as error:
                # The others need not suffer from it.
                print(f"  FAILED {name}: its packages were not installed: {error}", flush=True)
                failed += 1
                continue
            environment = clean | world.environment() | extra | {"PYTHONDONTWRITEBYTECODE": "1"}
            good, bad = run_suite([*runner, str(HERE / script), *words], environment, scored)
            passed, failed = passed + good, failed + bad
        if failed:
            print(world.logs())
    if scored:
        print("what the gateway works out by itself, with nothing but the base URL:")
        print("\n".join(f"  {line}" for line in sorted(scored)))
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
