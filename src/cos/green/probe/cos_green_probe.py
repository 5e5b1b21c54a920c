"""A pytest plugin, loaded by path into any project: it writes each result as a JSON line and can shuffle and trace.

It runs in the project's interpreter, so it needs nothing but pytest, and is told what to do by `COS_GREEN_…` variables.
"""

from __future__ import annotations

import json
import os
import random
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

_MESSAGE = 20_000
_FRAMES = 60
_CALLS = 400
_CHAIN = 20


def _short(text: str, limit: int = _MESSAGE) -> str:
    return text if len(text) <= limit else text[:limit] + " [cut]"


def _local(path: str, root: str) -> str:
    return path[len(root) + 1 :].replace(os.sep, "/") if path.startswith(root + os.sep) else path


def _type_name(kind: type) -> str:
    module = getattr(kind, "__module__", "")
    return kind.__qualname__ if module in ("builtins", "", None) else f"{module}.{kind.__qualname__}"


def _frames(traceback: Any, root: str) -> list[dict[str, Any]]:
    frames = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if not traceback.tb_frame.f_locals.get("__tracebackhide__") or traceback.tb_next is None:
            frames.append(
                {
                    "file": _local(code.co_filename, root),
                    "line": traceback.tb_lineno,
                    "function": code.co_name,
                }
            )
        traceback = traceback.tb_next
    ours = [at for at, frame in enumerate(frames) if not _foreign(frame["file"])]
    start = ours[0] if ours else max(0, len(frames) - 8)
    kept = frames[start:]
    return kept if len(kept) <= _FRAMES else kept[: _FRAMES // 2] + kept[-_FRAMES // 2 :]


def _foreign(file: str) -> bool:
    return Path(file).is_absolute() or file.startswith("<") or "site-packages" in file


def _chain(error: BaseException, root: str) -> list[dict[str, Any]]:
    """Give the chain from its root to the outermost, as pytest would print it."""
    found: list[dict[str, Any]] = []
    link = ""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen and len(seen) < _CHAIN:
        seen.add(id(current))
        message = getattr(current, "msg", None) if type(current).__name__ in ("Failed", "Skipped") else None
        try:
            text = str(current) if message is None else str(message)
        except Exception as broken:  # noqa: BLE001 - an exception whose str() fails is still a failure to report
            text = f"<str() raised {type(broken).__name__}>"
        if type(current).__name__ == "FixtureLookupError":
            text = f"fixture {getattr(current, 'argname', '?')!r} not found"
        found.append(
            {
                "type": _type_name(type(current)),
                "message": _short(text),
                "frames": _frames(current.__traceback__, root),
                "link": link,
            }
        )
        members = getattr(current, "exceptions", None)
        if current.__cause__ is not None:
            current, link = current.__cause__, "cause"
        elif current.__context__ is not None and not current.__suppress_context__:
            current, link = current.__context__, "context"
        elif isinstance(members, (tuple, list)) and members and isinstance(members[0], BaseException):
            current, link = members[0], "member"
        else:
            current = None
    found.reverse()
    return found


class Tracer:
    """Notes which of the project's functions a test calls."""

    def __init__(self, root: str) -> None:
        self.root = root + os.sep
        self.known: dict[Any, str] = {}
        self.seen: set[str] = set()

    def start(self) -> None:
        """Begin to note calls."""
        self.seen = set()
        sys.setprofile(self._call)
        threading.setprofile(self._call)

    def stop(self) -> list[str]:
        """End, and give what was called."""
        sys.setprofile(None)
        threading.setprofile(None)
        self.seen.discard("")
        return sorted(self.seen)[:_CALLS]

    def _call(self, frame: Any, event: str, _argument: object) -> None:
        if event != "call":
            return
        code = frame.f_code
        name = self.known.get(code)
        if name is None:
            name = self.known[code] = self._name(code)
        self.seen.add(name)

    def _name(self, code: Any) -> str:
        path = code.co_filename
        if not path.startswith(self.root) or "site-packages" in path or code.co_name.startswith("<"):
            return ""
        return f"{_local(path, self.root[:-1])}::{getattr(code, 'co_qualname', code.co_name).replace('.<locals>', '')}"


class Probe:
    """The plugin."""

    def __init__(self, config: pytest.Config, path: str) -> None:
        self.path = path
        self.root = os.environ.get("COS_GREEN_ROOT") or str(config.rootpath)
        self.worker = hasattr(config, "workerinput")
        self.tracer = Tracer(self.root) if os.environ.get("COS_GREEN_TRACE") else None
        self.shuffle = os.environ.get("COS_GREEN_SHUFFLE", "")
        self.started = time.monotonic()
        self.collected = 0
        self.file: Any = None
        self.pending: dict[str, dict[str, float]] = {}

    def write(self, item: dict[str, Any]) -> None:
        """Write one line; workers of xdist leave that to their controller."""
        if self.worker:
            return
        if self.file is None:
            self.file = Path(self.path).open("a", encoding="utf-8")  # noqa: SIM115 - open for the whole session
        self.file.write(json.dumps(item) + "\n")
        self.file.flush()

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Shuffle, where a seed is given."""
        if self.shuffle:
            random.Random(self.shuffle).shuffle(items)  # noqa: S311 - an order, not a secret

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Count what will be run."""
        self.collected = len(session.items)

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Any:
        """Trace the body of a test."""
        if self.tracer is None or sys.getprofile() is not None:
            yield
            return
        self.tracer.start()
        yield
        item.stash[_CALLED] = self.tracer.stop()

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: Any) -> Any:
        """Attach the exception chain, as objects are at hand only here."""
        result = yield
        report = result.get_result()
        if call.excinfo is not None and report.failed:
            report.cos_green_chain = _chain(call.excinfo.value, self.root)
        if call.when == "call" and _CALLED in item.stash:
            report.cos_green_calls = item.stash[_CALLED]

    @pytest.hookimpl(hookwrapper=True)
    def pytest_make_collect_report(self) -> Any:
        """Attach the exception chain of what did not collect."""
        result = yield
        report = result.get_result()
        call = getattr(report, "call", None)
        if report.failed and call is not None and call.excinfo is not None:
            report.cos_green_chain = _chain(_inner(call.excinfo.value), self.root)

    def pytest_collectreport(self, report: Any) -> None:
        """Report what did not collect."""
        if report.failed:
            chain = getattr(report, "cos_green_chain", None) or [_plain(report)]
            self.write({"test": report.nodeid, "outcome": "error", "phase": "collect", "chain": chain})

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Report a phase that says what the test is."""
        if self.worker:
            return
        times = self.pending.setdefault(report.nodeid, {})
        times[report.when] = round(report.duration, 6)
        item: dict[str, Any] = {"test": report.nodeid, "phase": report.when}
        if report.failed:
            item["outcome"] = "failed" if report.when == "call" else "error"
            item["chain"] = getattr(report, "cos_green_chain", None) or [_plain(report)]
        elif report.skipped:
            item["outcome"] = "xfailed" if hasattr(report, "wasxfail") else "skipped"
        elif report.when == "call":
            item["outcome"] = "xpassed" if hasattr(report, "wasxfail") else "passed"
        else:
            if report.when == "teardown":
                self.pending.pop(report.nodeid, None)
            return
        calls = getattr(report, "cos_green_calls", None)
        if calls:
            item["calls"] = calls
        item["durations"] = {
            report.when: times[report.when],
            **({"setup": times["setup"]} if report.when == "call" and "setup" in times else {}),
        }
        node = getattr(report, "node", None)
        if node is not None:
            item["worker"] = node.gateway.id
        self.write(item)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Report the run itself."""
        if self.worker:
            return
        about = {
            "collected": self.collected or session.testscollected,
            "duration_s": round(time.monotonic() - self.started, 3),
            "leaks": _leaks(self.root),
        }
        self.write({"run": about})


_CALLED = pytest.StashKey[list[str]]()


def _inner(error: BaseException) -> BaseException:
    """Go below pytest's own CollectError to what the module's import raised."""
    while error.__cause__ is not None and type(error).__name__ == "CollectError":
        error = error.__cause__
    return error


def _plain(report: Any) -> dict[str, Any]:
    return {"type": "", "message": _short(str(report.longrepr or "")), "frames": [], "link": ""}


def _leaks(root: str) -> list[str]:
    """Name modules that came from the user's own tree although the run is in a worktree of it."""
    forbidden = os.environ.get("COS_GREEN_NOT_FROM", "")
    if not forbidden or forbidden == root:
        return []
    found = []
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None) or ""
        inside = file.startswith(forbidden + os.sep) and not file.startswith(root + os.sep)
        if inside and "site-packages" not in file and os.sep + ".cos" + os.sep not in file:
            found.append(f"{name} ({file})")
    return sorted(found)[:5]


def pytest_configure(config: pytest.Config) -> None:
    """Register the probe where a report is asked for."""
    path = os.environ.get("COS_GREEN_REPORT")
    if path and not config.pluginmanager.has_plugin("cos-green-probe"):
        config.pluginmanager.register(Probe(config, path), "cos-green-probe")
