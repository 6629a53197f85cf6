"""The programs of docs/frameworks/, as they stand there. Standard library only."""

import pathlib
import re

PAGES = pathlib.Path(__file__).parent / "../../docs/frameworks"


def program(page, heading):
    """The last program of a section: its language and its text."""
    for section in (PAGES / f"{page}.md").read_text().split("\n## ")[1:]:
        found = re.findall(r"```(python|js)\n(.*?)```", section, re.DOTALL)
        if found and section.partition("\n")[0] == heading:
            return found[-1]
    raise KeyError(f"{page}.md has no program under {heading}")
