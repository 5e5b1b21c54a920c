"""`cos log` and `cos events`, against a COS that runs."""

from __future__ import annotations

import json
import sys
import uuid

import pytest


@pytest.fixture
def module() -> str:
    """A module of this test's own in the log that all share."""
    return f"m{uuid.uuid4().hex}"


class TestLog:
    """`cos log`."""

    def test_it_records(self, living, module) -> None:
        """The id and the position are printed, and the event has every member that was given."""
        ran = living(
            *(
                "log",
                "chapter.saved",
                "--data",
                '{"b": 1.0,  "a": "ä"}',
                "--module",
                module,
                "--subject",
                "ch01",
            ),
            *("--level", "warning", "--time", "2026-01-31T12:00:00+01:00", "--key", module),
        )
        assert (ran.code, ran.err) == (0, "")
        event_id, position = ran.out.split()
        [event] = json.loads(living("events", "--module", module, "--json").out)["events"]
        assert (event["id"], event["position"]) == (event_id, position)
        assert (event["type"], event["subject"], event["level"]) == ("chapter.saved", "ch01", "warning")
        assert (event["time"], event["data"]) == ("2026-01-31T11:00:00Z", {"b": 1.0, "a": "ä"})

    def test_json_and_a_key_used_before(self, living, module) -> None:
        first = json.loads(living("log", "a", "-m", module, "--key", module, "--json").out)
        again = json.loads(living("log", "a", "-m", module, "--key", module, "--json").out)
        assert (first["duplicate"], again["duplicate"]) == (False, True)
        assert first["id"] == again["id"]
        assert "recorded before" in living("log", "a", "-m", module, "--key", module).out

    @pytest.mark.parametrize("data", [b'{"words": 3}', b' [1, "\xc3\xa4"] \n', b'"text"', b"null"])
    def test_data_from_standard_input(self, living, module, data) -> None:
        assert living("log", "a", "-m", module, "--data", "-", stdin=data).code == 0
        [event] = json.loads(living("events", "-m", module, "--json").out)["events"]
        assert event["data"] == json.loads(data)

    @pytest.mark.parametrize(
        "data", [b"", b"{", b"text", b'"\xff"', b"[" * 100_000, b"9" * 5000, b'1, "type": "other"']
    )
    def test_data_that_is_no_json(self, cos, data) -> None:
        """Told before anything is sent, with the way out; as an argument or from standard input."""
        ran = cos("log", "a", "--data", "-", stdin=data)
        assert ran.code == 3
        assert "not JSON" in ran.err
        assert "--data '\"some text\"'" in ran.sentence
        argument = data.decode(
            "utf-8", "surrogateescape"
        )  # as the interpreter gives an argument that is no UTF-8
        assert cos("log", "a", "--data", argument).sentence == ran.sentence

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (("two words",), "'two words'"),
            (("a", "--level", "loud"), "debug, info"),
            (("a", "--module", "a b"), "'a b'"),
            (("a", "--time", "yesterday"), "time"),
            (("a", "--time", "2026-01-31T12:00:00"), "timezone"),
            (("a", "--key", ""), "empty"),
            (("a", "--data", "NaN"), "JSON"),
            (("a", "--data", '"\\u0000"'), "NUL"),
        ],
    )
    def test_what_the_api_refuses(self, living, arguments, said) -> None:
        ran = living("log", *arguments)
        assert ran.code == 3
        assert said in ran.sentence

    def test_cos_is_not_running(self, cos, alone) -> None:
        """Exit code 10, with the folder and the way out."""
        for arguments in (("log", "a"), ("events",), ("tail",), ("tail", "--since", "0-0")):
            ran = cos(*arguments)
            assert ran.code == 10
            assert str(alone) in ran.sentence
            assert ran.sentence.endswith("cos up")

    def test_no_standard_input(self, cos, monkeypatch) -> None:
        """A process that was started with it closed."""
        monkeypatch.setattr("cos.cli.screen.sys", _WithoutInput())
        ran = cos("log", "a", "--data", "-")
        assert (ran.code, "no standard input" in ran.sentence) == (3, True)


class _WithoutInput:
    stdin = None
    stdout = sys.stdout


class TestEvents:
    """`cos events`."""

    def test_a_list(self, living, module) -> None:
        """The newest, oldest of them first, one a line with tabs between; long data is cut."""
        for n in range(4):
            living("log", f"step.{n}", "-m", module, "-s", "ch01", "--data", json.dumps("x" * 100 * n))
        ran = living("events", "-m", module, "-n", "3")
        rows = [line.split("\t") for line in ran.out.splitlines()]
        assert [row[3] for row in rows] == ["step.1", "step.2", "step.3"]
        assert all(len(row) == 6 and row[2] == module and row[4] == "ch01" for row in rows)
        assert all(len(row[5]) == 80 and row[5].endswith("…") for row in rows)

    def test_filters_and_positions(self, living, module) -> None:
        """Each option reaches the API; after a position the order is the log's, with the position to go on from."""
        for n in range(4):
            living(
                *("log", "odd" if n % 2 else "even", "-m", module, "-s", f"s{n}", "--data", str(n)),
                *("--time", f"2026-01-31T12:0{n}:00Z"),
            )

        def listed(*arguments):
            return json.loads(living("events", "-m", module, "--json", *arguments).out)

        def data(*arguments):
            return [event["data"] for event in listed(*arguments)["events"]]

        assert data() == [0, 1, 2, 3]
        assert data("--type", "odd") == [1, 3]
        assert data("-t", "e*") == [0, 2]
        assert data("-s", "s2") == [2]
        assert data("--since", "2026-01-31T12:01:00Z", "--until", "2026-01-31T12:03:00Z") == [1, 2]
        first = listed()["events"][0]["position"]
        assert data("--after", first, "-n", "2") == [1, 2]
        assert listed("--after", first, "-n", "2")["next"] == listed()["events"][2]["position"]

    @pytest.mark.parametrize("arguments", [("--after", "x"), ("--since", "x")])
    def test_what_the_api_refuses(self, living, arguments) -> None:
        ran = living("events", *arguments)
        assert ran.code == 3
        assert arguments[1] in ran.sentence or arguments[0][2:] in ran.sentence

    def test_a_wrong_address(self, cos) -> None:
        assert cos("events", "--api", "127.0.0.1:8000").code == 16
        assert cos("events", "--api", "http://127.0.0.1:1").code == 10

    def test_tail_of_no_position(self, living) -> None:
        ran = living("tail", "--since", "yesterday")
        assert (ran.code, "'yesterday' is not a position" in ran.sentence) == (3, True)
