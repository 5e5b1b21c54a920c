"""The loop check, in whole runs of pytest: each fault by its name, with where it was made and first bound."""

from __future__ import annotations

import textwrap

import pytest


class TestBoundAtImport:
    """Objects made while a module is imported."""

    jobs = "import asyncio\nqueue = asyncio.Queue()\n"
    tests = """
        import asyncio, jobs
        async def wait():
            try:
                await asyncio.wait_for(jobs.queue.get(), 0.01)
            except TimeoutError:
                pass
        async def test_one(): await wait()
        async def test_two(): await wait()
    """

    def test_both_sites_are_named(self, run) -> None:
        """The first test is told at once, the second where the first one bound it."""
        result = run(self.tests, jobs=self.jobs)
        result.assert_outcomes(failed=2)
        text = result.stdout.str()
        assert "BoundAtImport: The Queue jobs.queue was made at import at jobs.py:2 and first bound" in text
        assert (
            "OtherLoop: The Queue jobs.queue belongs to another event loop: it was made at import at" in text
        )
        assert "jobs.py:2 and was first bound at" in text
        assert "in test_it.py::test_one; now it is used at" in text
        assert "in test_it.py::test_two. Make it in the loop that uses it" in text

    def test_one_loop_for_all_is_no_conflict(self, run) -> None:
        """With a session loop only the binding itself is told of, and may be switched off."""
        result = run(self.tests, "--cos-loops", "conflict,tasks", scope="session", jobs=self.jobs)
        result.assert_outcomes(passed=2)

    def test_a_conftest_that_imports_is_early_enough(self, run) -> None:
        """What a conftest imports is known, too."""
        result = run(self.tests, "--cos-loops=conflict", conftest="import jobs", jobs=self.jobs)
        assert "made at import at jobs.py:2" in result.stdout.str()

    def test_a_task_that_nobody_awaits(self, run) -> None:
        """An error that would be lost with its task is told all the same."""
        result = run(
            """
            import asyncio, jobs
            async def use(): await jobs.queue.get()
            async def test_one():
                task = asyncio.create_task(use())
                await asyncio.wait([task], timeout=0.01)
                task.cancel()
            async def test_two(): await asyncio.wait([asyncio.create_task(use())], timeout=0.01)
            """,
            "--cos-loops=conflict",
            "-W",
            "ignore",
            jobs=self.jobs,
        )
        result.assert_outcomes(passed=1, failed=1)
        assert "now it is used at test_it.py:2 in use, in test_it.py::test_two" in result.stdout.str()

    def test_off_changes_nothing(self, run) -> None:
        """Without the check the error is asyncio's own."""
        result = run(self.tests, "--cos-loops=off", jobs=self.jobs)
        result.assert_outcomes(passed=1, failed=1)
        result.stdout.fnmatch_lines(["*RuntimeError: *is bound to a different event loop*"])


class TestConflicts:
    """Futures, loops in loops, closed loops."""

    def test_a_future_of_another_loop(self, run) -> None:
        """Attached to a different loop: where it was made, and in which test its loop ran."""
        result = run(
            """
            import asyncio
            kept = []
            async def test_one(): kept.append(asyncio.get_running_loop().create_future())
            async def test_two():
                waits = kept[0]
                await waits
            """
        )
        result.assert_outcomes(passed=1, failed=1)
        result.stdout.fnmatch_lines(
            [
                (
                    "*OtherLoop: test_it.py:6 in test_two awaits a Future that belongs to another event loop: it "
                    "was made at test_it.py:3 in test_one, in test_it.py::test_one, and belongs to a loop that first "
                    "ran in test_it.py::test_one; now the loop of test_it.py::test_two runs.*"
                )
            ]
        )

    def test_a_loop_in_a_loop(self, run) -> None:
        """Each way to start one is named, also below an error of the application."""
        result = run(
            """
            import asyncio
            async def nothing(): pass
            def sync(how):
                coroutine = nothing()
                try:
                    try:
                        how(coroutine)
                    except RuntimeError as error:
                        raise ValueError("the job failed") from error
                finally:
                    coroutine.close()
            async def test_run(): sync(asyncio.run)
            async def test_until(): sync(asyncio.get_running_loop().run_until_complete)
            async def test_other():
                loop = asyncio.new_event_loop()
                try:
                    sync(loop.run_until_complete)
                finally:
                    loop.close()
            """,
            "-W",
            "ignore",
            "-rN",
        )
        result.assert_outcomes(failed=3)
        text = result.stdout.str()
        assert (
            text.count("NestedRun: test_it.py:7 in sync starts an event loop while the loop of test_it.py::")
            == 3
        )

    def test_a_closed_loop(self, run) -> None:
        """A client whose loop is closed."""
        result = run(
            """
            import asyncio
            kept = []
            async def test_one(): kept.append(asyncio.get_running_loop())
            async def test_two(): kept[0].call_soon(print)
            """
        )
        result.assert_outcomes(passed=1, failed=1)
        result.stdout.fnmatch_lines(["*OtherLoop: *that is closed: it first ran in test_it.py::test_one;*"])


LEFT = """
    import asyncio, pytest
    async def forever():
        await asyncio.Event().wait()
    async def numbers():
        try:
            yield 1
            yield 2
        finally:
            pass
    kept = []
    async def test_task(): kept.append(asyncio.create_task(forever(), name="poller"))
    async def test_generator():
        async for number in numbers():
            break
    async def test_both_kept():
        kept.append(numbers())
        await anext(kept[-1])
    async def test_clean():
        task = asyncio.create_task(forever())
        await asyncio.sleep(0)
        task.cancel()
        async for number in numbers():
            pass
"""


class TestLeft:
    """Tasks and async generators that are left over."""

    @pytest.mark.parametrize("scope", ["function", "class", "module", "package", "session"])
    def test_with_pytest_asyncio(self, run, scope) -> None:
        """In every loop scope the test that left it is named."""
        result = run(LEFT, scope=scope)
        text = result.stdout.str()
        assert (
            "TaskLeft: The task poller (forever) was made at test_it.py:11 in test_task by test_it.py::test_task"
            in text
        )
        assert "waits at test_it.py:3 in forever" in text
        assert (
            "GeneratorLeft: The async generator numbers was dropped before its end and stands at test_it.py:6"
            in text
        )
        assert "GeneratorLeft: The async generator numbers was left before its end" in text
        assert "_ test_clean _" not in text
        assert "of test_clean _" not in text

    def test_with_anyio(self, run) -> None:
        """The same where anyio runs the tests."""
        result = run(
            "import pytest\npytestmark = pytest.mark.anyio\n" + _flat(LEFT),
            runner="anyio.pytest_plugin",
            ini="[pytest]\ncos_loops = strict\n",
            conftest="import pytest\n@pytest.fixture\ndef anyio_backend(): return 'asyncio'\n",
        )
        text = result.stdout.str()
        assert "TaskLeft: The task poller (forever)" in text
        assert text.count("GeneratorLeft: ") >= 2
        assert "of test_clean _" not in text

    def test_a_wider_fixture_may_keep_a_task(self, run) -> None:
        """A session's server is not the first test's; a function's is."""
        result = run(
            """
            import asyncio, pytest
            async def forever(): await asyncio.Event().wait()
            @pytest.fixture(scope="session")
            async def server():
                task = asyncio.create_task(forever())
                yield
                task.cancel()
            @pytest.fixture
            async def own():
                task = asyncio.create_task(forever(), name="own")
                yield
            async def test_one(server): pass
            async def test_two(own): pass
            """,
            scope="session",
        )
        result.assert_outcomes(passed=2, errors=1)
        result.stdout.fnmatch_lines(["*TaskLeft: The task own (forever) was made at test_it.py:10 in own*"])

    def test_what_is_ignored(self, run) -> None:
        """A name or place may be spared, for all or by a mark."""
        result = run(
            LEFT
            + "    pytestmark = pytest.mark.loops('strict', ignore=['forever', 'numbers', 'test_it.py'])\n"
        )
        result.assert_outcomes(passed=4)


class TestBlocking:
    """Calls that keep the loop."""

    def test_the_call_and_its_stack_are_named(self, run) -> None:
        """A sleep, a busy loop and a driver in a greenlet; many small steps are none."""
        result = run(
            """
            import asyncio, time
            from sqlalchemy.util import greenlet_spawn
            def deep(): time.sleep(0.3)
            async def test_sleep(): deep()
            async def test_busy():
                end = time.thread_time() + 0.3
                while time.thread_time() < end: pass
            async def test_greenlet(): await greenlet_spawn(deep)
            async def test_small_steps():
                async def step():
                    end = time.thread_time() + 0.0005
                    while time.thread_time() < end: pass
                await asyncio.gather(*(step() for _ in range(800)))
            async def test_waits(): await asyncio.sleep(0.3)
            """
        )
        result.assert_outcomes(failed=3, passed=2)
        text = result.stdout.str()
        assert "LoopBlocked: test_it.py:3 in deep kept the event loop for" in text
        assert "    test_it.py:4 in test_sleep\n" in text
        assert "    test_it.py:3 in deep\n" in text

    def test_uvloop_and_a_mark_with_a_limit(self, run) -> None:
        """Another loop, and a limit of its own."""
        result = run(
            """
            import asyncio, time, pytest, uvloop
            @pytest.fixture(scope="session")
            def event_loop_policy(): return uvloop.EventLoopPolicy()
            async def test_sleep(): time.sleep(0.3)
            @pytest.mark.loops("strict", blocking_ms=2000)
            async def test_longer(): time.sleep(0.3)
            @pytest.mark.loops("off")
            async def test_off(): time.sleep(0.3)
            async def test_task(): keep.append(asyncio.create_task(asyncio.sleep(9), name="mine"))
            keep = []
            """,
            "-W",
            "ignore",
        )
        text = result.stdout.str()
        result.assert_outcomes(failed=1, passed=3, errors=1)
        assert "LoopBlocked: test_it.py:4 in test_sleep kept the event loop for" in text
        assert "TaskLeft: The task mine (sleep) was made at test_it.py:9 in test_task" in text


class TestSettings:
    """What is asked for wrongly is told in one sentence."""

    @pytest.mark.parametrize(
        ("line", "sentence"),
        [
            ("cos_loops = strikt", "There is no loop check 'strikt': give strict, off, or some of conflict,"),
            ("cos_loops = strict\ncos_blocking_ms = soon", "cos_blocking_ms is 'soon': give milliseconds"),
        ],
    )
    def test_a_bad_setting(self, run, line, sentence) -> None:
        result = run("def test_it(): pass", ini=f"[pytest]\n{line}\n")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        assert sentence in result.stderr.str()
        assert "Traceback" not in result.stderr.str()

    def test_a_mark_alone(self, run) -> None:
        """A mark is enough, without any setting."""
        result = run(
            """
            import asyncio, pytest
            keep = []
            @pytest.mark.asyncio
            @pytest.mark.loops
            async def test_it(): keep.append(asyncio.create_task(asyncio.sleep(9)))
            """,
            ini="[pytest]\n",
        )
        result.assert_outcomes(passed=1, errors=1)
        result.stdout.fnmatch_lines(["*TaskLeft: *"])


def _flat(code: str) -> str:
    return "\n".join(line[4:] for line in code.splitlines())


SCOPED = {
    "anyio": """
        import asyncio, pytest
        pytestmark = pytest.mark.anyio
        @pytest.fixture(scope="{scope}")
        def anyio_backend(): return "asyncio"
        @pytest.fixture(scope="{scope}")
        async def thing(anyio_backend):
            kept = asyncio.get_running_loop().create_task(asyncio.sleep(3600))
            yield asyncio.get_running_loop()
            kept.cancel()
    """,
    "pytest_asyncio": """
        import asyncio, pytest, pytest_asyncio
        pytestmark = pytest.mark.asyncio(loop_scope="{scope}")
        @pytest_asyncio.fixture(scope="{scope}", loop_scope="{scope}")
        async def thing():
            kept = asyncio.get_running_loop().create_task(asyncio.sleep(3600))
            yield asyncio.get_running_loop()
            kept.cancel()
    """,
}


@pytest.mark.parametrize("scope", ["function", "class", "module", "package", "session"])
@pytest.mark.parametrize("runner", sorted(SCOPED))
def test_every_scope_of_a_loop(run, runner, scope) -> None:
    """What a fixture of the loop keeps is its own; what a test leaves is told, of that test alone."""
    tests = """
        class TestIt:
            async def test_one(self, thing): assert thing is asyncio.get_running_loop()
            async def test_leaving(self, thing): asyncio.get_running_loop().create_task(asyncio.sleep(3600))
            async def test_two(self, thing): assert thing is asyncio.get_running_loop()
    """
    plugin = {"anyio": "anyio.pytest_plugin", "pytest_asyncio": "pytest_asyncio.plugin"}[runner]
    head = textwrap.dedent(SCOPED[runner]).format(scope=scope)
    body = textwrap.dedent(tests)
    result = run(head + body, runner=plugin, ini="[pytest]\ncos_loops = strict\n")
    result.assert_outcomes(passed=3, errors=1)
    result.stdout.fnmatch_lines(["ERROR test_it.py::TestIt::test_leaving - *TaskLeft: *"])
