"""`cos green run` and `resume`: one loop over what is still to do."""  # house: length (one loop and its steps)

from __future__ import annotations

import contextlib
import fcntl
import shutil
from dataclasses import dataclass, field, replace
from typing import IO, TYPE_CHECKING, Any

from cos.green import state as states
from cos.green.agents import Agent
from cos.green.clock import pause
from cos.green.dispatch import Answer, Dispatcher, services
from cos.green.errors import GitFailed, NoDiskSpace, RunGoesOn
from cos.green.imports import Imports
from cos.green.merge import MergeQueue
from cos.green.options import Options, options_from
from cos.green.orphans import end_orphans
from cos.green.parse_report import parse_report
from cos.green.plan import Planner
from cos.green.process import MARKER
from cos.green.rules import Rules, load_rules
from cos.green.scan import scan_run
from cos.green.suite import TEMPORARY, Suite, Task, find_python
from cos.green.verify import Verifier, counts_of, regressions

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cos.green.cause import Cause
    from cos.green.failure import Run
    from cos.green.log import Log
    from cos.green.repo import Repo
    from cos.green.state import MissionState, RunState

_POLL_S = 0.02
_MOST_WAVES = 100


class Stopped(Exception):
    """Somebody asked the run to stop."""


@dataclass(slots=True)
class Orchestrator:
    """Drives one run. Only this class writes events of missions, and only while it holds the lock.

    The authority on what was done is the log; on what was merged, the integration branch; on how an agent ended, the
    file that its warden wrote. After a crash the three are read and the loop goes on.
    """

    repo: Repo
    log: Log
    run: str
    on_change: Callable[[RunState], None] = lambda _: None
    state: RunState = field(init=False)
    options: Options = field(init=False)
    _lock: IO[str] | None = None
    _imports: Imports | None = None
    _before: dict[str, str] = field(default_factory=dict)
    _seen: int = 0
    rules: Rules = field(default_factory=Rules)
    python: str = ""
    queue: MergeQueue = field(init=False)
    dispatcher: Dispatcher = field(init=False)

    def __post_init__(self) -> None:
        """Read what is known of the run."""
        events = self.log.events(self.run)
        self.state = states.fold(self.run, events)
        self._seen = events[-1].seq if events else 0
        self.options = options_from(self.state.options) if self.state.options else Options("")

    # what is where
    @property
    def folder(self) -> Path:
        """The run's own folder: briefs, outputs, reports."""
        return self.repo.state / "runs" / self.run

    def worktree(self, name: str) -> Path:
        """The folder of one of the run's worktrees."""
        return self.repo.state / "trees" / self.run / name

    def lock(self) -> None:
        """Become the only orchestrator of this repository.

        Raises:
            RunGoesOn: there is one already.
        """
        handle = (self.repo.make_state() / "lock").open("w")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            handle.close()
            raise RunGoesOn from None
        self._lock = handle

    def begin(self, options: Options, base: str, notes: list[str]) -> None:
        """Write down that the run began."""
        self.options = options
        given = {key: getattr(options, key) for key in Options.__slots__}
        self._say("run_started", base=base, options=given, notes=notes)

    def drive(self) -> RunState:
        """Go on until the run is over.

        Returns:
            The final state: its verdict is `green` or `blocked`.

        Raises:
            Stopped: somebody asked for it; `resume` goes on.
            CosError: something outside of the missions failed; `resume` goes on after it is mended.
        """
        end_orphans(self.repo.root)
        self.repo.unlock()
        for left in self.repo.state.glob(f"{TEMPORARY}*"):
            shutil.rmtree(left, ignore_errors=True)
        rules = load_rules(self.repo.root)
        self.rules = replace(
            rules,
            grant=(*rules.grant, *self.options.grant),
            grant_weakening=(*rules.grant_weakening, *self.options.grant_weakening),
        )
        self.python = find_python(self.repo.root, self.options.python or rules.python)
        self.queue = MergeQueue(
            self.repo, self.run, self.state.base, self.repo.state / "trees" / self.run, self.suite_in
        )
        self.dispatcher = Dispatcher(
            Agent.find(self.options.agent), self.folder / "agents", self.repo.root, self.run
        )
        if self.state.status != "running":
            self._say("run_resumed")
        if self.state.suites:
            self._checkout(self._whole, self.state.suites[-1].commit)
        try:
            while self.state.status == "running":
                self._step()
        except (NoDiskSpace, OSError):
            # A full disk cuts compiled files short, which then break every later run; and this frees some of it.
            shutil.rmtree(self.repo.state / "pycache", ignore_errors=True)
            raise
        finally:
            self.dispatcher.stop()
        self._tidy()
        return self.state

    def _step(self) -> None:
        if not self.state.suites:
            self._run_suite(0)
        elif self.state.wave not in self.state.done_waves and self.state.wave > 0:
            self._go_through_wave(self.state.wave)
        else:
            self._plan()

    def _say(self, kind: str, **body: Any) -> None:
        event = self.log.append(self.run, kind, **body)
        states.apply(self.state, event)
        self.on_change(self.state)

    def suite_in(self, folder: Path, mission: str) -> Suite:
        """Give the suite of a worktree, with a mission's own services and environment."""
        extra = {MARKER: str(self.repo.root), **services(self.run, mission)}
        return Suite(
            folder,
            self.repo.root,
            self.python,
            self.options.suite_limit_s,
            self.rules.pytest_args,
            extra=extra,
        )

    def _checkout(self, name: str, commit: str) -> Path:
        path = self.worktree(name)
        self.repo.add_worktree(path, commit)
        self._bring(path)
        return path

    def _bring(self, worktree: Path) -> None:
        for name in self.rules.copy:
            source = self.repo.root / name
            if source.is_file():
                (worktree / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, worktree / name)

    @property
    def _whole(self) -> str:
        """The worktree of the newest run of the whole suite."""
        return f"whole-{self.state.suites[-1].commit[:12]}" if self.state.suites else "whole"

    # the suite and the plan
    def _run_suite(self, wave: int) -> Run:
        tip = self.queue.tip()
        path = self._checkout(f"whole-{tip[:12]}", tip)
        name = f"suite-{wave}-{tip[:12]}.jsonl"
        run = self.suite_in(path, "M0").run(Task(trace=True, keep=self.folder / name))
        causes = [] if self.state.causes else scan_run(run, path, self.rules).causes
        self._say(
            "suite_ran", wave=wave, commit=tip, file=name, counts=counts_of(run),
            causes=[{**cause.as_json(), "category": cause.category} for cause in causes],
        )  # fmt: skip
        return run

    def _last_run(self) -> Run:
        return parse_report((self.folder / self.state.suites[-1].file).read_text(encoding="utf-8"))

    def _outcomes_before(self, wave: int) -> dict[str, str]:
        suite = [suite for suite in self.state.suites if suite.wave < wave][-1]
        return parse_report((self.folder / suite.file).read_text(encoding="utf-8")).outcomes

    def _causes(self, run: Run) -> list[Cause]:
        return scan_run(run, self.worktree(self._whole), self.rules).causes

    def _plan(self) -> None:
        run = self._last_run()
        if not run.failures:
            self._say("run_ended", verdict="green", left=[])
            return
        tip = self.state.suites[-1].commit
        causes = self._causes(run)
        wave = self.state.wave + 1
        planner = self._planner(tip)
        waves = planner.waves(causes, self.options.agents, first=wave, number=len(self.state.missions) + 1)
        if not waves or wave > _MOST_WAVES:
            self._say("run_ended", verdict="blocked", left=[cause.as_json() for cause in causes])
            return
        self._say("wave_planned", wave=wave, base=tip, missions=[mission.as_json() for mission in waves[0]])

    def _planner(self, commit: str) -> Planner:
        files = self.repo.files(commit)
        planner = Planner(
            Imports(self.repo.texts(commit, files)), self.rules, files, self.options.budget,
            self.options.attempts, self.python,
        )  # fmt: skip
        for one in self.state.missions.values():
            if one.state not in (states.REFUSED, states.BLOCKED, states.TAKEN_OUT):
                continue
            for test in one.mission.targets:
                planner.tries[test] += 1
                planner.widen.setdefault(test, []).extend(one.evidence.get("outside", []))
                planner.hints.setdefault(test, []).extend(one.reasons[:3])
        return planner

    # one wave
    def _go_through_wave(self, wave: int) -> None:
        base = self.state.wave_base[wave]
        self._before = self._outcomes_before(wave)
        self._imports = Imports(self.repo.texts(base, self.repo.files(base)))
        while any(
            one.state in (states.PLANNED, states.WORKING, states.ANSWERED) for one in self.state.of_wave(wave)
        ):
            self._heed()
            moved = False
            for one in self.state.of_wave(wave):
                moved = self._move(one) or moved
            if not moved:
                pause(_POLL_S)
        before = self._before
        for one in self.state.of_wave(wave):
            if one.state == states.VERIFIED:
                self._heed()
                self._merge(one, before)
        self._settle(wave, before)
        self._say("wave_done", wave=wave)

    def _heed(self) -> None:
        """See whether somebody asked to stop."""
        self.on_change(self.state)
        for event in self.log.events(self.run, self._seen):
            self._seen = event.seq
            if event.kind == "stop_requested":
                self.dispatcher.stop()
                self._say("run_stopped")
                raise Stopped

    def _move(self, one: MissionState) -> bool:  # noqa: PLR0911 - one return a state
        """Move one mission on by one step, if it can."""
        name = one.mission.id
        if one.state == states.PLANNED:
            working = sum(other.state == states.WORKING for other in self.state.missions.values())
            if working >= self.options.agents:
                return False
            self._start(one, 1)
            return True
        if one.state == states.WORKING:
            answer = self.dispatcher.answer(name, one.tries)
            if answer is not None:
                self._take(one, answer)
                return True
            if not self.dispatcher.works_on(name):  # an earlier orchestrator's agent, which died with it
                self._interrupted(one)
                return True
            return False
        if one.state == states.ANSWERED:
            self._verify(one)
            return True
        return False

    def _start(self, one: MissionState, number: int) -> None:
        name = one.mission.id
        branch = f"cos-green/{self.run}/{name}" + (f"-{number}" if number > 1 else "")
        path = self.worktree(f"{name}-{number}")
        self._say(
            "mission_started", **{"mission": name, "try": number, "branch": branch, "worktree": str(path)}
        )
        self.repo.add_worktree(path, one.base, branch)
        self._bring(path)
        self.dispatcher.start(one.mission, number, path)

    def _interrupted(self, one: MissionState) -> None:
        """Keep what a killed attempt left on its branch, and start anew on another."""
        path = self.worktree(f"{one.mission.id}-{one.tries}")
        with contextlib.suppress(GitFailed):  # a folder that was not whole yet holds no work
            if (path / ".git").exists():
                self.repo.commit_all(path, f"{one.mission.id}: interrupted", self.rules.copy)
        self._start(one, one.tries + 1)

    def _take(self, one: MissionState, answer: Answer) -> None:
        path = self.worktree(f"{one.mission.id}-{one.tries}")
        tip = self.repo.commit_all(path, f"{one.mission.id}: {one.mission.name}", self.rules.copy)
        reason = answer.reason or (f"exit code {answer.code}" if answer.code else "")
        self._say(
            "agent_ended", mission=one.mission.id, tip=tip, reason=reason, seconds=answer.seconds,
            cost_usd=answer.cost_usd, bytes=answer.bytes,
        )  # fmt: skip

    def _verify(self, one: MissionState) -> None:
        name = one.mission.id
        path = self.worktree(f"{name}-{one.tries}")
        if not path.exists():
            self.repo.add_worktree(path, one.tip, one.branch)
            self._bring(path)
        assert self._imports is not None  # noqa: S101 - set before any mission moves
        verifier = Verifier(self.repo, self._imports, self.rules.owned, self.suite_in)
        verdict = verifier.verify(one.mission, one.base, one.tip, path)
        if verdict.good:
            self._say("verified", mission=name, evidence=verdict.evidence)
            return
        ended = [f"the agent {one.ended}"] if one.ended and not one.ended.startswith("exit") else []
        self._say("refused", mission=name, reasons=[*ended, *verdict.reasons][:20], evidence=verdict.evidence)

    # the merge queue
    def _merge(self, one: MissionState, before: dict[str, str]) -> None:
        name, tip = one.mission.id, self.queue.tip()
        if commit := self.queue.merged(self.state.base, tip).get(name):
            self._say("merged", mission=name, commit=commit)  # done before a crash, not written down
            return
        picked = self.queue.pick(self.queue.squash(one.mission, one.base, one.tip), tip)
        if picked.commit is None:
            files = ", ".join(picked.conflicts)
            self._say(
                "blocked", mission=name, reasons=[f"it conflicts in {files}; the branch {one.branch} is kept"]
            )
            return
        assert self._imports is not None  # noqa: S101 - set before any mission moves
        changed = one.evidence.get("changed", [])
        reasons, counts = self.queue.try_out(one.mission, picked.tree, changed, self._imports, before)
        if reasons:
            self._say("refused", mission=name, reasons=reasons, evidence={"merge": counts})
            return
        if self.queue.repo.move_branch(self.queue.branch, picked.commit, tip):
            self._say("merged", mission=name, commit=picked.commit, evidence={"merge": counts})

    def _settle(self, wave: int, before: dict[str, str]) -> None:
        """Run the whole suite and take out, one by one, missions that broke what had passed."""
        base = self.state.wave_base[wave]
        self._note_taken_out(wave)
        merged = [one for one in self.state.of_wave(wave) if one.state == states.MERGED]
        for _ in range(len(merged) + 2):
            tip = self.queue.tip()
            run = self._last_run() if tip == self.state.suites[-1].commit else self._run_suite(wave)
            if tip == base:
                return
            lost = regressions(run, before, self.suite_in(self.worktree(self._whole), "M0"))
            guilty = self.queue.culprit(base, tip, lost) if lost else None
            if guilty is None:
                return
            new, fallen = self.queue.without(guilty, base, tip)
            if self.repo.move_branch(self.queue.branch, new, tip):
                shown = ", ".join(lost[:3]) + (f" and {len(lost) - 3} more" if len(lost) > 3 else "")  # noqa: PLR2004
                self._say("taken_out", mission=guilty, reasons=[f"the whole suite lost {shown} with it"])
                for name, files in fallen:
                    self._say(
                        "blocked",
                        mission=name,
                        reasons=[f"it conflicts in {', '.join(files)} without {guilty}"],
                    )

    def _note_taken_out(self, wave: int) -> None:
        """Write down what a crash kept from being written: a mission merged once and no longer on the branch."""
        there = self.queue.merged(self.state.base, self.queue.tip())
        for one in self.state.of_wave(wave):
            if one.state == states.MERGED and one.mission.id not in there:
                self._say("taken_out", mission=one.mission.id, reasons=["the whole suite lost tests with it"])

    def _tidy(self) -> None:
        """Take our folders away; branches stay, so nothing that was not merged is lost."""
        for path in sorted((self.repo.state / "trees" / self.run).glob("*")):
            if (path / ".git").exists():
                self.repo.drop_worktree(path)
        trees = self.repo.state / "trees" / self.run
        shutil.rmtree(self.repo.state / "pycache" / trees.relative_to(trees.anchor), ignore_errors=True)
