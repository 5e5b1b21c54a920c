"""Reads JUnit XML, pytest's and other runners'; entities and document types are refused, so hostile XML cannot grow."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from xml.parsers import expat

from cos.green.errors import UnreadableReport
from cos.green.failure import Failure, Outcome, Phase, Raised, Run
from cos.green.parse_foreign import parse_foreign
from cos.green.parse_text import clean
from cos.green.parse_traceback import parse_traceback, split_message

_DEPTH = 64
_PYTHON_FILE = re.compile(r"^(?:E .*)?(?P<file>(?:[A-Za-z]:)?[^\s:\"]+\.py):\d+", re.MULTILINE)
_PHASE = re.compile(r'^failed on (?P<phase>setup|teardown) with "?(?P<said>.*?)"?$', re.DOTALL)
_ESCAPED = re.compile(r"#x(?P<code>[0-9A-F]{2,4})(?![0-9A-F])")


@dataclass(slots=True)
class _Case:
    """One `testcase` element."""

    attributes: dict[str, str]
    ends: list[tuple[str, dict[str, str], list[str]]] = field(default_factory=list)


class _Reader:
    """Collects test cases while expat reads."""

    def __init__(self) -> None:
        self.cases: list[_Case] = []
        self.depth = 0
        self.text: list[str] | None = None
        self.case: _Case | None = None
        self.seen_root = False

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self.depth += 1
        if self.depth > _DEPTH:
            raise UnreadableReport(
                f"The XML is nested deeper than {_DEPTH} elements, so it is not a JUnit report."
            )
        name = name.rpartition(":")[2]
        if not self.seen_root and name not in ("testsuites", "testsuite"):
            raise UnreadableReport(
                f"The XML begins with <{name}>, not with <testsuites>: it is not a JUnit report."
            )
        self.seen_root = True
        if name == "testcase":
            self.case = _Case(attributes)
            self.cases.append(self.case)
        elif self.case is not None and name in (
            "failure",
            "error",
            "skipped",
            "rerunFailure",
            "flakyFailure",
        ):
            self.text = []
            self.case.ends.append((name, attributes, self.text))
        else:
            self.text = None

    def data(self, text: str) -> None:
        if self.text is not None:
            self.text.append(text)

    def end(self, name: str) -> None:
        self.depth -= 1
        self.text = None
        if name.rpartition(":")[2] == "testcase":
            self.case = None


def _refuse(*_: object) -> None:
    raise UnreadableReport(
        "The XML declares a document type or entities, which a JUnit report never needs: remove the DOCTYPE."
    )


def parse_junit(data: bytes) -> Run:
    """Read a JUnit report.

    Args:
        data: the file.

    Returns:
        The run, with pytest's node ids where the cases are Python's.

    Raises:
        UnreadableReport: it is not well-formed, not JUnit, or declares entities.
    """
    reader = _Reader()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.data
    parser.StartDoctypeDeclHandler = _refuse
    parser.EntityDeclHandler = _refuse
    try:
        parser.Parse(data, True)  # noqa: FBT003 - expat takes it by position only
    except expat.ExpatError as error:
        raise UnreadableReport(
            f"The XML is not well-formed ({expat.ErrorString(error.code)}, line {error.lineno}): "
            "write the report again."
        ) from None
    return _run(reader.cases)


def _run(cases: list[_Case]) -> Run:
    run = Run(passed=0)
    seen: set[str] = set()
    for case in cases:
        text = "\n".join("".join(end[2]) for end in case.ends)
        test = _node_id(case.attributes, text)
        seen.add(test)
        duration = _seconds(case.attributes.get("time"))
        run.durations[test] = run.durations.get(test, 0.0) + duration
        bad = [end for end in case.ends if end[0] in ("failure", "error")]
        for end in bad:
            run.failures.append(_failure(test, end, duration))
        if not bad:
            _count_good(run, test, case)
    run.total = len(seen)
    run.duration_s = sum(run.durations.values())
    return run


def _count_good(run: Run, test: str, case: _Case) -> None:
    skips = [end for end in case.ends if end[0] == "skipped"]
    run.outcomes[test] = "skipped" if skips else "passed"
    if not skips:
        run.passed = (run.passed or 0) + 1
    elif "xfail" in skips[0][1].get("type", ""):
        run.xfailed += 1
    else:
        run.skipped += 1


def _failure(test: str, end: tuple[str, dict[str, str], list[str]], duration: float) -> Failure:
    name, attributes, parts = end
    outcome: Outcome = "failed" if name == "failure" else "error"
    text, message = _plain("".join(parts)), _plain(attributes.get("message", ""))
    phase: Phase = "call" if outcome == "failed" else ""
    if at := _PHASE.match(message):
        phase, message = at["phase"], at["said"]  # type: ignore[assignment]
    elif message == "collection failure":
        phase, message = "collect", ""
    chain: tuple[Raised, ...] = ()
    if ".py" in text or 'File "' in text or "\nE  " in "\n" + text:
        chain = parse_traceback(text.splitlines())
    if not chain and ".py" not in text and not test.partition("::")[0].endswith(".py"):
        chain = parse_foreign(text, attributes.get("type", ""), message)
    if not chain:
        kind, said = split_message(message or text)
        chain = (Raised(attributes.get("type", "") or kind, said),) if kind or said else ()
    return Failure(test, outcome, phase, chain, duration_s=duration)


def _plain(text: str) -> str:
    return clean(_ESCAPED.sub(lambda match: chr(int(match["code"], 16)), text))


def _seconds(text: str | None) -> float:
    try:
        return float((text or "0").replace(",", ""))
    except ValueError:
        return 0.0


def _node_id(attributes: dict[str, str], text: str) -> str:
    """Make pytest's node id of a class name and a name; another runner's case keeps `class::name`."""
    owner, name = attributes.get("classname", ""), _plain(attributes.get("name", ""))
    file = attributes.get("file", "").replace("\\", "/")
    if not owner:
        collected = not file or name.replace(".", "/") in file
        return (file or _module_file(name, text) or name) if collected else f"{file}::{name}"
    if not file.endswith(".py"):
        file = _module_file(owner, text)
    if not file:
        return f"{owner}::{name}" if owner else name
    module = str(PurePosixPath(file).with_suffix("")).replace("/", ".")
    names = owner.removeprefix(module).strip(".") if owner.startswith(module) else ""
    if not names and owner and not owner.startswith(module):
        names = ".".join(part for part in owner.split(".") if part[:1].isupper())
    return "::".join([file, *(part for part in names.split(".") if part), name])


def _module_file(dotted: str, text: str) -> str:
    """Find the file of a dotted name: first one that the traceback shows, else by where the class names begin."""
    for match in _PYTHON_FILE.finditer(text):
        file = match["file"].replace("\\", "/")
        module = file.removesuffix(".py").replace("/", ".").lstrip(".")
        if dotted == module or dotted.startswith(module + "."):
            return file
    parts = dotted.split(".")
    modules = []
    for part in parts:
        if part[:1].isupper() or not part.isidentifier():
            break
        modules.append(part)
    if not modules or not any(part.startswith("test") or part.endswith("test") for part in modules):
        return ""
    return "/".join(modules) + ".py"
