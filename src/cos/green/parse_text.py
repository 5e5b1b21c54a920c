"""Reads a text log of pytest: summary lines, tracebacks in every style, xdist's output, cut messages."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field

from cos.green import node_id as ids
from cos.green.failure import Failure, Outcome, Phase, Raised, Run
from cos.green.parse_traceback import parse_traceback, split_message

_COLOUR = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-Z\\-_]")
_CI_TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z ", re.MULTILINE)
_BANNER = re.compile(r"^=+ (?P<title>.+?) =+$")
_HEADING = re.compile(r"^_{2,} (?P<title>\S.*?) _{2,}$")
_CAPTURED = re.compile(
    r"^-{3,}\s*(?:Captured (?:stdout|stderr|log) ?\w*|live log.*|generated xml.*)\s*-{3,}$"
)
_SUMMARY = re.compile(r"^(?P<word>FAILED|ERROR|SUBFAIL|SUBFAILED(?:\([^)]*\)|\[[^\]]*\])?) (?P<rest>\S.*)$")
_OTHER_SUMMARY = re.compile(r"^(?:SKIPPED \[\d+\]|XFAIL|XPASS|PASSED|SUBPASS\w*|SUBSKIP\w*) \S")
_VERBOSE = re.compile(
    r"^(?P<id>\S.*?) (?P<word>PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)(?: \([^)]*\))?\s*(?:\[ *\d+%\])?$"
)
_WORKER = re.compile(r"^\[gw\d+\] \[ *\d+%\] (?P<word>PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS) (?P<id>\S.*)$")
_COUNT = re.compile(r"(?P<n>\d+) (?P<word>passed|failed|errors?|skipped|xfailed|xpassed|deselected)\b")
_TOOK = re.compile(r"\bin (?P<s>[\d.]+)s\b")
_AT = re.compile(r"^ERROR at (?P<phase>setup|teardown) of (?P<name>.+)$")
_COLLECTING = re.compile(r"^ERROR collecting (?P<path>.+)$")
_LINE_STYLE = re.compile(r"^(?P<file>(?:[A-Za-z]:)?[^\s:][^:\n]*):(?P<line>\d+): (?P<rest>.+)$")


@dataclass(slots=True)
class _Block:
    """One printed traceback."""

    name: str
    outcome: Outcome
    phase: Phase
    lines: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Entry:
    """One line (with what follows it) of the short summary."""

    outcome: Outcome
    test: str
    message: list[str]


def clean(text: str) -> str:
    """Take out what a terminal or a CI added: colours, carriage returns, time stamps before each line."""
    text = _COLOUR.sub("", text).replace("\r\n", "\n").replace("\r", "\n")
    lines = text.count("\n") + 1
    if len(_CI_TIME.findall(text)) * 2 > lines:
        text = _CI_TIME.sub("", text)
    return text


def parse_text(text: str) -> Run:
    """Read a log as pytest prints it.

    Args:
        text: the whole log, or only its summary lines.

    Returns:
        The run; each failure has the best chain that the log holds, from its traceback or else from its summary line.
    """
    lines = clean(text).split("\n")
    run = Run()
    _read_progress(lines, run)
    entries = _read_summary(lines, frozenset(run.outcomes))
    blocks = _read_blocks(lines, {ids.heading(entry.test) for entry in entries})
    _join(run, entries, blocks)
    _count(lines, run)
    run.interrupted = any(line.startswith("!!!") and "Interrupted" in line for line in lines)
    return run


def _read_progress(lines: list[str], run: Run) -> None:
    for line in lines:
        match = _WORKER.match(line) or ("::" in line and _VERBOSE.match(line)) or None
        if match and not line.startswith(("FAILED ", "ERROR ", " ", "E ")) and "::" in match["id"]:
            run.outcomes[match["id"]] = match["word"].lower()
            run.order.append(match["id"])


def _read_summary(lines: list[str], known: frozenset[str]) -> list[_Entry]:
    starts = [number for number, line in enumerate(lines) if _is_banner(line, "short test summary info")]
    if not starts and any(_is_banner(line, "FAILURES") or _is_banner(line, "ERRORS") for line in lines):
        return []
    entries: list[_Entry] = []
    open_entry: _Entry | None = None
    for line in lines[starts[-1] + 1 if starts else 0 :]:
        match = _SUMMARY.match(line)
        split = ids.split_summary(match["rest"], known) if match else None
        if match and split:
            outcome: Outcome = "error" if match["word"] == "ERROR" else "failed"
            open_entry = _Entry(outcome, split[0], [split[1]] if split[1] else [])
            entries.append(open_entry)
        elif (
            _BANNER.match(line)
            or line.startswith("!!!!")
            or (starts and _TOOK.search(line) and _COUNT.match(line))
        ):
            if starts:
                break
            open_entry = None
        elif _OTHER_SUMMARY.match(line):
            open_entry = None
        elif open_entry is not None:
            open_entry.message.append(line)
    return entries


def _is_banner(line: str, title: str) -> bool:
    match = _BANNER.match(line)
    return match is not None and match["title"] == title


def _read_blocks(lines: list[str], known: set[str]) -> list[_Block]:
    blocks: list[_Block] = []
    section: Outcome | None = None
    block: _Block | None = None
    captured = False
    for line in lines:
        banner = _BANNER.match(line)
        if banner and (
            not captured or banner["title"] in ("FAILURES", "short test summary info", "warnings summary")
        ):
            section = {"FAILURES": "failed", "ERRORS": "error"}.get(banner["title"])  # type: ignore[assignment]
            block, captured = None, False
            continue
        if section is None:
            continue
        heading = _HEADING.match(line)
        if (
            heading
            and (begun := _begin(heading["title"], section))
            and (not captured or _expected(begun, known))
        ):
            block, captured = begun, False
            blocks.append(block)
        elif _CAPTURED.match(line):
            captured = True
        elif captured:
            continue
        elif block is not None and block.name:
            block.lines.append(line)
        else:
            block = _line_style(line, section, blocks) or block
    return blocks


def _begin(title: str, section: Outcome) -> _Block | None:
    if at := _AT.match(title):
        return _Block(at["name"], "error", at["phase"])  # type: ignore[arg-type]
    if collecting := _COLLECTING.match(title):
        return _Block(collecting["path"], "error", "collect")
    if re.fullmatch(r"(?:_ )+_?", title):
        return None
    return _Block(title, section, "call" if section == "failed" else "")


def _expected(block: _Block, known: set[str]) -> bool:
    return not known or block.name in known or block.phase in ("setup", "teardown", "collect")


def _line_style(line: str, section: Outcome, blocks: list[_Block]) -> _Block | None:
    """Take a line of `--tb=line`, where each failure is one line (with more below, if its message has more)."""
    if _LINE_STYLE.match(line):
        block = _Block("", section, "", [line])
        blocks.append(block)
        return block
    if blocks and not blocks[-1].name and line:
        blocks[-1].lines.append(line)
    return None


def _join(run: Run, entries: list[_Entry], blocks: list[_Block]) -> None:
    """Give each summary entry its traceback; what has only one of the two is a failure as well."""
    named = [block for block in blocks if block.name]
    waiting: dict[tuple[Outcome, str], list[_Block]] = defaultdict(list)
    for block in named:
        waiting[(block.outcome, block.name)].append(block)
    unnamed = [block for block in blocks if not block.name]
    by_order = len(unnamed) == sum(entry.outcome == "failed" for entry in entries)
    lined = iter(unnamed)
    for entry in entries:
        found = _take(waiting, entry)
        if found is None and by_order and entry.outcome == "failed":
            found = next(lined, None)
        run.failures.append(_failure(entry, found))
    for rest in waiting.values():
        run.failures.extend(failure for block in rest if (failure := _alone(block, run)))


def _take(waiting: dict[tuple[Outcome, str], list[_Block]], entry: _Entry) -> _Block | None:
    candidates = (
        waiting.get((entry.outcome, ids.heading(entry.test)))
        or waiting.get((entry.outcome, entry.test))
        or []
    )
    file = entry.test.partition("::")[0]
    for number, block in enumerate(candidates):  # equal names in several files: the traceback knows its file
        if any(file in line for line in block.lines):
            return candidates.pop(number)
    return candidates.pop(0) if candidates else None


def _failure(entry: _Entry, block: _Block | None) -> Failure:
    message = "\n".join(entry.message).rstrip()
    kind, said = split_message(message)
    chain = parse_traceback(block.lines) if block else ()
    if not chain and (kind or said):
        chain = (Raised(kind or "", said),)
    elif chain and chain[-1].message == "" and said:
        last = chain[-1]
        chain = (*chain[:-1], Raised(kind or last.type, said, last.frames, last.link))
    phase: Phase = block.phase if block else ("collect" if "::" not in entry.test else "")
    return Failure(entry.test, entry.outcome, phase, chain)


def _alone(block: _Block, run: Run) -> Failure | None:
    chain = parse_traceback(block.lines)
    if block.phase == "collect":
        return Failure(block.name, "error", "collect", chain)
    tail = "::" + block.name.partition("[")[0].replace(".", "::")
    for test in run.order:
        if ids.without_parameters(test).endswith(tail) and test.endswith(
            block.name[block.name.find("[") :] or ""
        ):
            return Failure(test, block.outcome, block.phase, chain)
    frames = [frame for raised in chain for frame in raised.frames]
    if not frames:
        return None
    plain, bracket, rest = block.name.partition("[")
    names = plain.replace(".", "::") + bracket + rest
    return Failure(f"{frames[0].file}::{names}", block.outcome, block.phase, chain)


def _count(lines: list[str], run: Run) -> None:
    for line in reversed(lines[-200:]):
        if not _TOOK.search(line) or not _COUNT.search(line):
            continue
        counts = {match["word"].rstrip("s"): int(match["n"]) for match in _COUNT.finditer(line)}
        run.passed = counts.get("passed", 0) + counts.get("xpassed", 0)
        run.skipped, run.xfailed = counts.get("skipped", 0), counts.get("xfailed", 0)
        both = len({f.test for f in run.failures if f.outcome == "failed"} & _errored(run))
        run.total = sum(
            counts.get(word, 0) for word in ("passed", "failed", "error", "skipped", "xfailed", "xpassed")
        )
        run.total -= both
        took = _TOOK.search(line)
        run.duration_s = float(took["s"]) if took else 0.0
        return


def _errored(run: Run) -> set[str]:
    return {failure.test for failure in run.failures if failure.outcome == "error"}
