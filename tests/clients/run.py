#!/usr/bin/env python3
"""Runs the client suites against one gateway and one set of simulated providers.

    run.py BINARY HOME [--all | SUITE…]

Without names all suites run but those whose packages take long to install; `--all` runs these too.
BINARY is `bursar`; HOME keeps what is installed (a venv for each pinned requirements file, the npm
packages) from one run to the next. Ends with `N passed, N failed`; names each suite that it skipped
and why. Leaves nothing running.
"""

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
# One suite takes seconds; a hung one is ended, so that the run ends too.
SUITE_SECONDS_MAX = 300


class Skip(Exception):
    """Why a suite cannot run here."""


def python_with(requirements):
    """A venv's interpreter with exactly these packages; made once for each content of the file."""

    def prepare(home):
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


def node(home):
    """Node with the packages of the lock file."""
    if not shutil.which("node") or not shutil.which("npm"):
        raise Skip("node and npm are not installed")
    text = (HERE / "package-lock.json").read_bytes()
    place = home / f"npm-{hashlib.sha256(text).hexdigest()[:12]}"
    if not (place / "complete").exists():
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, place)
        install = ["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"]
        subprocess.run(install, cwd=place, check=True)
        (place / "complete").touch()
    return ["node"], {"NODE_HOME": str(place)}


def shell(_):
    if not shutil.which("curl"):
        raise Skip("curl is not installed")
    return ["bash"], {}


FRAMEWORKS = python_with("requirements-frameworks.txt")

SUITES = {
    "openai-python": ("openai_python.py", python_with("requirements.txt")),
    "openai-python-2": ("openai_python.py", python_with("requirements-openai2.txt")),
    "anthropic-python": ("anthropic_python.py", python_with("requirements.txt")),
    "openai-translated": ("openai_translated.py", python_with("requirements.txt")),
    "openai-translated-2": ("openai_translated.py", python_with("requirements-openai2.txt")),
    "anthropic-translated": ("anthropic_translated.py", python_with("requirements.txt")),
    "openai-node": ("openai_node.mjs", node),
    "curl": ("curl.sh", shell),
    "langgraph": ("langgraph_crew.py", FRAMEWORKS),
    "openai-agents": ("openai_agents_crew.py", FRAMEWORKS),
    "anthropic-agents": ("anthropic_crew.py", FRAMEWORKS),
    "autogen": ("autogen_crew.py", FRAMEWORKS),
    "pydantic-ai": ("pydantic_ai_crew.py", FRAMEWORKS),
    "examples": ("examples.py", FRAMEWORKS),
}

# Their packages come to a gigabyte.
LARGE = {
    "crewai": ("crewai_crew.py", python_with("requirements-crewai.txt")),
    "crewai-example": ("examples.py", python_with("requirements-crewai.txt")),
    "traces": ("traces.py", python_with("requirements-traces.txt")),
}

# A developer's own settings must not reach the suites, nor a proxy loopback.
FOREIGN = ("OPENAI_", "ANTHROPIC_", "BURSAR_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


def chosen(wanted):
    if wanted == ["--all"]:
        return [*SUITES, *LARGE]
    return wanted or SUITES


def run_suite(words, environment):
    """Runs one suite, passing its lines on: (passed, failed)."""
    child = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True, cwd=HERE)
    alarm = threading.Timer(SUITE_SECONDS_MAX, child.kill)
    alarm.start()
    passed = failed = 0
    with child:
        for line in child.stdout:
            print(f"  {line}", end="", flush=True)
            passed += line.startswith("ok ")
            failed += line.startswith("FAILED ")
    alarm.cancel()
    if child.returncode != 0 and failed == 0:
        print(f"  FAILED {words[-1]}: ended with {child.returncode}")
        failed = 1
    if passed + failed == 0:
        print(f"  FAILED {words[-1]}: no case ran")
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
    with World(binary) as world:
        for name in chosen(wanted):
            script, prepare = (SUITES | LARGE)[name]
            try:
                runner, extra = prepare(home)
            except Skip as why:
                print(f"  skipped {name}: {why}")
                continue
            environment = clean | world.environment() | extra | {"PYTHONDONTWRITEBYTECODE": "1"}
            good, bad = run_suite([*runner, str(HERE / script)], environment)
            passed, failed = passed + good, failed + bad
        if failed:
            print(world.logs())
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
