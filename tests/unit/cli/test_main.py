"""The command tree: wrong usage, interruptions, and what answers without a COS."""

from __future__ import annotations

import json

import pytest

import cos as package


class TestUsage:
    """Wrong usage is explained, never traced."""

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (("bogus",), "bogus"),
            (("log",), "TYPE"),
            (("events", "--limit", "0"), "--limit"),
            (("events", "--limit", "many"), "--limit"),
            (("events", "--unknown"), "--unknown"),
            (("up", "--port", "x"), "--port"),
            (("import", "events"), "FILE"),
            (("import", "bogus"), "bogus"),
        ],
    )
    def test_it_names_what_is_wrong(self, cos, arguments, said) -> None:
        """Exit code 2, on standard error."""
        ran = cos(*arguments)
        assert ran.code == 2
        assert said in ran.err
        assert ran.out == ""

    @pytest.mark.parametrize("arguments", [("--help",), ("up", "--help"), ("import", "events", "--help")])
    def test_help(self, cos, arguments) -> None:
        ran = cos(*arguments)
        assert ran.code == 0
        assert "Usage" in ran.out

    @pytest.mark.parametrize("arguments", [(), ("import",)])
    def test_nothing_asked_for_shows_the_commands(self, cos, arguments) -> None:
        ran = cos(*arguments)
        assert ran.code == 2
        assert "Usage" in ran.out + ran.err

    def test_every_command_is_there(self, cos) -> None:
        """The promised commands and no stray ones of ours."""
        shown = cos("--help").out
        process = ("up", "down", "status", "logs", "serve", "worker", "doctor", "version")
        for name in (*process, "log", "events", "tail", "import"):
            assert f"│ {name} " in shown, name

    def test_ctrl_c(self, cos, monkeypatch) -> None:
        """130, without a word."""

        def interrupted(*_, **__):
            raise KeyboardInterrupt

        monkeypatch.setattr("cos.runtime.status.status", interrupted)
        ran = cos("status")
        assert (ran.code, ran.err.strip()) == (130, "")


class TestVersion:
    """`cos version`."""

    def test_plain_and_json(self, cos) -> None:
        """COS, Python, Postgres and Redis, with numbers."""
        found = json.loads(cos("version", "--json").out)
        assert found["cos"] == package.__version__
        assert set(found) == {"cos", "python", "postgres", "redis"}
        assert all(number[0].isdigit() for number in found.values())
        assert cos("version").out.splitlines() == [f"{name:<10}{number}" for name, number in found.items()]
