"""Load: both models, latencies from when a call was due, and what is shown of it."""

from __future__ import annotations

import asyncio
import json
import re
from html.parser import HTMLParser

import pytest
from rich.console import Console

from cos.cli.main import run as run_cos
from cos.errors import BadInput
from cos.testing import stopwatch
from cos.testing.histogram import Histogram
from cos.testing.load import CallFailed, Closed, LoadReport, Open, Second, run_load
from cos.testing.load_html import load_html
from cos.testing.load_http import load_http
from cos.testing.load_view import load_table


class TestHistogram:
    """Quantiles in little memory."""

    def test_quantiles_are_right_to_a_per_cent(self) -> None:
        found = Histogram()
        for number in range(1, 10_001):
            found.add(number / 1000)
        for share in (0.01, 0.5, 0.9, 0.99, 0.999):
            assert abs(found.quantile(share) - 10 * share) <= 0.011 * 10 * share
        assert found.quantile(1) == found.most == 10
        assert len(found._buckets) < 1000

    def test_merging_and_nothing(self) -> None:
        one, other = Histogram(), Histogram()
        assert one.quantile(0.5) == 0
        one.add(1)
        other.add(3)
        one.merge(other)
        assert (one.count, one.most) == (2, 3)
        assert [round(share, 2) for _, share in one.shares()] == [0.5, 1]


class TestModels:
    """How calls are made."""

    async def test_closed(self) -> None:
        """Never more at once than workers; what fails is counted by kind and is in no percentile."""
        running = most = calls = 0

        async def call() -> None:
            nonlocal running, most, calls
            running, calls = running + 1, calls + 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1
            if calls % 3 == 0:
                raise CallFailed("HTTP 503")
            if calls % 7 == 0:
                raise KeyError("x")

        found = await run_load(call, Closed(workers=4), seconds=0.2)
        assert most == 4
        assert set(found.errors) == {"HTTP 503", "KeyError"}
        assert found.ok + sum(found.errors.values()) == calls
        assert found.latency.count == found.ok
        assert sum(one.ok for one in found.timeline) == found.ok
        assert found.per_second == found.ok / found.seconds

    async def test_open_keeps_its_rate(self) -> None:
        """Calls are made when they are due, however long the earlier ones take."""
        gate = asyncio.Event()

        async def call() -> None:
            await gate.wait()

        asyncio.get_running_loop().call_later(0.3, gate.set)
        found = await run_load(call, Open(rate=200, arrivals="even"), seconds=0.4)
        assert abs(found.ok - 80) <= 1
        assert found.latency.quantile(0.5) > 0.05

    async def test_a_pause_is_not_omitted(self) -> None:
        """A server that stands still makes all calls late that were due meanwhile; service time tells of one."""
        paused = False

        async def call() -> None:
            nonlocal paused
            if not paused:
                paused = True
                await asyncio.sleep(0.3)  # house: sleep (the pause is what is tested)

        found = await run_load(call, Closed(workers=1, pace_s=0.01), seconds=0.5)
        assert found.latency.quantile(0.5) > 3 * found.service.quantile(0.5)
        assert found.latency.most > 0.25

    async def test_dropped_timed_out_and_warm_up(self) -> None:
        """What was not made is counted; a timeout counts with its latency; a warm-up does not count at all."""

        async def call() -> None:
            await asyncio.Event().wait()

        found = await run_load(
            call,
            Open(rate=100, arrivals="even", most_under_way=5),
            seconds=0.3,
            timeout_s=0.05,
            warm_up_s=0.1,
        )
        assert found.dropped > 0
        assert found.errors["timed out"] > 0
        assert found.ok == 0
        assert found.latency.count == found.errors["timed out"]
        assert abs(found.dropped + found.errors["timed out"] - 30) <= 1
        assert any("were not made" in note for note in found.notes)

    @pytest.mark.parametrize(
        ("make", "sentence"),
        [
            (lambda: Closed(workers=0), "workers is 0"),
            (lambda: Closed(workers=1, pace_s=0), "pace_s is 0"),
            (lambda: Open(rate=-1), "rate is -1"),
            (lambda: Open(rate=1, arrivals="bursts"), "arrivals is 'bursts'"),
            (lambda: Open(rate=1, most_under_way=0), "most_under_way is 0"),
        ],
    )
    def test_bad_numbers(self, make, sentence) -> None:
        with pytest.raises(BadInput, match=sentence):
            make()

    async def test_bad_times(self) -> None:
        for how in (
            {"seconds": 0},
            {"seconds": 1, "warm_up_s": -1},
            {"seconds": 1, "timeout_s": float("nan")},
        ):
            with pytest.raises(BadInput, match="give seconds"):
                await run_load(asyncio.sleep, Closed(workers=1), **how)


@pytest.fixture
async def server():
    """A server of HTTP that answers 200, and 503 under /bad."""

    async def answer(reader, writer) -> None:
        while head := await reader.readuntil(b"\r\n\r\n") if not reader.at_eof() else b"":
            status = b"503 No" if b"/bad" in head.splitlines()[0] else b"200 OK"
            writer.write(b"HTTP/1.1 " + status + b"\r\ncontent-length: 2\r\n\r\nok")
            await writer.drain()

    async def safely(reader, writer) -> None:
        try:
            await answer(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(safely, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    listening.close()


class TestHttp:
    """Load on an address, and the command."""

    async def test_good_and_bad_statuses(self, server) -> None:
        good = await load_http(f"{server}/", Closed(workers=3), seconds=0.2)
        assert good.ok > 3
        assert not good.errors
        bad = await load_http(f"{server}/bad", Open(rate=100), seconds=0.2)
        assert bad.ok == 0
        assert set(bad.errors) == {"HTTP 503"}

    async def test_nobody_there(self) -> None:
        found = await load_http("http://127.0.0.1:9/", Closed(workers=1), seconds=0.05)
        assert found.ok == 0
        assert set(found.errors) == {"ConnectError"}
        with pytest.raises(BadInput, match="is no address to put load on"):
            await load_http("ftp://x", Closed(workers=1), seconds=1)

    async def test_the_command(self, server, tmp_path, capfd) -> None:
        """JSON on standard output, and a file with plots."""
        html = tmp_path / "r.html"
        command = ["load", f"{server}/a", "--rate", "50", "--seconds", "0.3", "--warm-up", "0", "--json"]
        assert await asyncio.to_thread(run_cos, [*command, "--html", str(html)]) == 0
        found = json.loads(capfd.readouterr().out)
        assert found["ok"] > 0
        assert found["model"] == "open: 50 calls a second, poisson arrivals"
        assert html.read_text().count("<svg") == 3

    def test_bad_options(self, capfd) -> None:
        for wrong, sentence in (
            (["--header", "x"], "The header 'x' is none"),
            (["--body", "/nowhere"], "cannot be read"),
            (["--rate", "0"], "rate is 0"),
        ):
            assert run_cos(["load", "http://127.0.0.1:9", *wrong]) == 3
            assert sentence in capfd.readouterr().err


def example() -> LoadReport:
    """Give a report with everything in it."""
    report = LoadReport(
        "GET <script>alert(1)</script>", "closed", "2026-01-01", seconds=2, dropped=3, unfinished=1
    )
    report.errors["<b>"] = 2
    return report


class TestViews:
    """What is shown."""

    def test_the_html_stands_alone_and_escapes(self) -> None:
        """No script, nothing fetched, balanced tags; also with nothing measured."""
        report = example()
        for filled in (False, True):
            text = load_html(report)
            assert "<script" not in text
            assert "&lt;script&gt;" in text
            assert "http" not in text.replace("http-equiv", "")
            checker = Balanced()
            checker.feed(text)
            assert checker.open == []
            assert ("<polyline" in text) == filled
            report.ok = 1
            report.latency.add(0.2)
            report.service.add(0.1)
            report.timeline.append(Second(ok=1))
            report.timeline[-1].latency.add(0.2)

    def test_the_plots_end_with_the_last_whole_second_and_at_a_round_number(self) -> None:
        report = example()
        report.timeline = [Second(ok=73), Second(ok=96), Second(ok=1)]
        speed = load_html(report).split("<h2>")[1]
        [line, _] = re.findall(r"points='([^']+)'", speed)
        assert len(line.split()) == 2
        assert re.findall(r"text-anchor='end' dy='4'>([^<]+)<", speed) == ["0", "20", "40", "60", "80", "100"]

    def test_the_table_tells_the_same(self) -> None:
        console = Console(width=120, record=True)
        with console.capture() as shown:
            console.print(load_table(example()))
        text = shown.get()
        assert "2 <b>" in text
        assert "3 calls were not made" in text
        assert "1 calls were still under way" in text


class Balanced(HTMLParser):
    """Sees that each tag is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attrs) -> None:
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs) -> None:
        pass

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag


def test_the_stopwatch_goes_on() -> None:
    """It is steady, and knows the CPU of this thread."""
    first = stopwatch.seconds()
    assert stopwatch.seconds() >= first
    assert stopwatch.thread_cpu_seconds() > 0
