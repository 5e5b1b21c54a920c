"""A scripted agent: it does what a JSON file says for the mission that it gets, so that tests need no real agent.

    {"rules": [{"match": "regular expression on the brief", "attempt": 1, "do": [ACTION, …]}, …]}

The first rule whose expression is found and whose attempt (if given) is the mission's is carried out. Actions:
`{"write": path, "text": …}`, `{"replace": path, "old": …, "new": …}`, `{"delete": path}`,
`{"append": path, "text": …}`,
`{"say": text, "times": n}`, `{"wait": seconds}`, `{"commit": message}`, `{"kill": signal number}`, `{"exit": code}`.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


def act(action: dict[str, Any]) -> None:
    """Carry one action out in the current folder."""
    if "write" in action or "append" in action:
        path = Path(action.get("write") or action["append"])
        path.parent.mkdir(parents=True, exist_ok=True)
        before = path.read_text(encoding="utf-8") if "append" in action and path.exists() else ""
        path.write_text(before + action["text"], encoding="utf-8")
    elif "replace" in action:
        path = Path(action["replace"])
        path.write_text(
            path.read_text(encoding="utf-8").replace(action["old"], action["new"]), encoding="utf-8"
        )
    elif "delete" in action:
        Path(action["delete"]).unlink()
    elif "say" in action:
        for _ in range(action.get("times", 1)):
            sys.stdout.write(action["say"] + "\n")
        sys.stdout.flush()
    elif "wait" in action:
        time.sleep(action["wait"])
    elif "commit" in action:
        name = ["-c", "user.name=agent", "-c", "user.email=agent@example.invalid"]
        subprocess.run(["git", "add", "--all"], check=True)  # noqa: S607
        subprocess.run(["git", *name, "commit", "-q", "-m", action["commit"]], check=True)  # noqa: S603, S607
    elif "kill" in action:
        os.kill(os.getpid(), action["kill"])
    elif "exit" in action:
        sys.exit(action["exit"])


def main() -> None:
    """Read the brief from standard input and follow the first rule that fits."""
    brief = sys.stdin.read()
    attempt = re.search(r"^- Attempt (\d+)$", brief, re.MULTILINE)
    number = int(attempt[1]) if attempt else 1
    for rule in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))["rules"]:
        if re.search(rule["match"], brief) and rule.get("attempt", number) == number:
            for action in rule["do"]:
                act(action)
            return


if __name__ == "__main__":
    main()
