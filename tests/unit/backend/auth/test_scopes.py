"""What a path asks for: the longest rule that fits it, in the spelling that the router takes."""

from __future__ import annotations

import pytest

from cos.backend.auth.scopes import ADMIN, OPEN, READ, WRITE, Rule, Rules, Scope


class TestWords:
    @pytest.mark.parametrize("scope", list(Scope))
    def test_there_and_back(self, scope) -> None:
        assert Scope.of(scope.word) is scope

    @pytest.mark.parametrize("word", ["", "root", "read write", "admin "])
    def test_another_word_is_none(self, word) -> None:
        with pytest.raises(KeyError):
            Scope.of(word)

    def test_a_higher_one_includes_the_lower(self) -> None:
        assert OPEN < READ < WRITE < ADMIN


class TestPaths:
    @pytest.mark.parametrize(
        ("method", "path", "asked"),
        [
            ("GET", "/", READ),
            ("POST", "/", ADMIN),
            ("GET", "/health", OPEN),
            ("HEAD", "/health", OPEN),
            ("GET", "/healthy", READ),
            ("GET", "/events", READ),
            ("POST", "/events", WRITE),
            ("PROPFIND", "/events", WRITE),
            ("get", "/events", WRITE),
            ("GET", "/cc/tokens", ADMIN),
            ("GET", "/cc/tokens/", ADMIN),
            ("GET", "/cc/tokens/x/y/z", ADMIN),
            ("GET", "/cc/tokensx", READ),
            ("DELETE", "/cc/groups/g", ADMIN),
            ("POST", "/cc/dead-letters/x/requeue", ADMIN),
            ("POST", "/cc/ping", READ),
            ("GET", "/ui/static/app.css", OPEN),
            ("POST", "/ui/static/app.css", ADMIN),
            ("POST", "/ui/letters/x", ADMIN),
            ("GET", "/no/such/path", READ),
            ("POST", "/no/such/path", ADMIN),
            ("GET", "//cc/tokens", READ),
            ("GET", "/CC/TOKENS", READ),
            ("GET", "", READ),
        ],
    )
    def test_what_is_asked(self, method, path, asked) -> None:
        assert Rules().scope_of(method, path) is asked

    def test_a_package_cannot_open_what_is_ours(self) -> None:
        rules = Rules([Rule("/cc/tokens", OPEN, OPEN), Rule("/modules/mine", OPEN, ADMIN)])
        assert rules.scope_of("GET", "/cc/tokens") is ADMIN
        assert rules.scope_of("GET", "/modules/mine/x") is OPEN
        assert rules.scope_of("GET", "/modules/other") is READ


class TestActs:
    @pytest.mark.parametrize(
        ("method", "path", "told"),
        [
            ("POST", "/cc/tokens", True),
            ("GET", "/cc/tokens", False),
            ("POST", "/events", False),
            ("POST", "/cc/modules", True),
            ("DELETE", "/cc/modules/m", True),
            ("POST", "/cc/modules/m/heartbeat", False),
            ("POST", "/cc/modulesx", False),
            ("POST", "/cc/mem0/scratch/cleanup", True),
            ("POST", "/cc/mem0/scratch/cleanup/background", True),
            ("POST", "/cc/mem0/scratch/notes", False),
            ("POST", "/nowhere", True),
        ],
    )
    def test_which_are_told(self, method, path, told) -> None:
        assert Rules().is_administrative(method, path) is told

    @pytest.mark.parametrize(
        ("path", "silent"),
        [
            ("/cc/mem0/scratch/cleanup", True),
            ("/cc/mem0/scratch/cleanup/background", True),
            ("/cc/mem0/scratch/cleanupx", False),
            ("/cc/tokens", False),
        ],
    )
    def test_which_say_nothing_of_themselves(self, path, silent) -> None:
        assert Rules().is_silent(path) is silent
