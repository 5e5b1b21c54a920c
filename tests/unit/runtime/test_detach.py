"""Starting and stopping in the background, seen from both ends of the pipe."""

from __future__ import annotations

import json
import os

import psutil
import pytest

from cos.config import load_settings
from cos.errors import NotRunning, PortTaken
from cos.infra.folder import DataFolder
from cos.runtime.detach import Reporter, running_process, stop


@pytest.fixture
def pipe():
    """A reporter, and what it has told."""
    ours, theirs = os.pipe()
    reporter = Reporter(theirs)
    with os.fdopen(ours, "rb") as reading:
        yield reporter, lambda: [json.loads(line) for line in reading.read().splitlines()]


class TestReporter:
    """What the child tells its parent."""

    def test_steps_and_ready(self, pipe) -> None:
        """After ready the pipe is closed, and what is said later is lost in peace."""
        reporter, told = pipe
        with reporter:
            reporter.progress("one")
            reporter.ready("http://x")
            reporter.progress("too late")
        assert told() == [{"progress": "one"}, {"ready": "http://x"}]

    def test_an_error(self, pipe) -> None:
        """The sentence and the exit code; the error itself goes on."""
        reporter, told = pipe
        with pytest.raises(PortTaken), reporter:
            raise PortTaken("Port 1 is taken.")
        reporter._pipe.close()
        assert told() == [{"error": "Port 1 is taken.", "code": 12}]


class TestRunningProcess:
    """Whether the process of a run state still lives."""

    def test_this_one(self) -> None:
        me = psutil.Process()
        assert running_process({"pid": me.pid, "created": me.create_time()}) == me

    @pytest.mark.parametrize(
        "run",
        [
            {},
            {"pid": "1", "created": 1.0},
            {"pid": 1, "created": None},
            {"pid": os.getpid(), "created": 1.0},
            {"pid": 2**22 + 1, "created": 1.0},
        ],
    )
    def test_none(self, run) -> None:
        """Half a state, another process under the same id, or nobody at all."""
        assert running_process(run) is None


def test_stopping_what_does_not_run_clears_what_it_left(tmp_path) -> None:
    """A run state that kill -9 left behind is removed."""
    folder = DataFolder.open(tmp_path / "d")
    folder.write_run({"pid": os.getpid(), "created": 1.0})
    with pytest.raises(NotRunning):
        stop(load_settings(data_dir=folder.path))
    assert folder.read_run() is None
