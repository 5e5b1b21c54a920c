"""What the settings say about access, and which of them are refused."""

from __future__ import annotations

from typing import Any

import pytest

from cos.backend.auth.policy import RATE_ELSEWHERE, Policy, parts
from cos.config import load_settings
from cos.errors import BadSetting


@pytest.fixture
def policy(tmp_path):
    """Make one of these settings."""

    def make(**given: Any) -> Policy:
        return Policy.of(load_settings(data_dir=tmp_path, **given))

    return make


class TestTokens:
    @pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.5", "::1", "localhost"])
    def test_on_loopback_none_is_asked_for(self, policy, host) -> None:
        assert not policy(host=host).asks_for_tokens

    @pytest.mark.parametrize(
        "given",
        [
            {"host": "0.0.0.0"},  # noqa: S104  (read, not bound)
            {"host": "::"},
            {"host": "192.0.2.1"},
            {"hosts": "cos.example.org"},
            {"require_token": True},
        ],
    )
    def test_wherever_others_can_come_from_they_are(self, policy, given) -> None:
        """A further name on loopback means a proxy: what comes from there is not this machine's own."""
        assert policy(**given).asks_for_tokens


class TestRate:
    def test_none_on_loopback_a_bound_elsewhere_and_what_is_said_wins(self, policy) -> None:
        assert policy().rate_per_second == 0
        assert policy(host="192.0.2.1").rate_per_second == RATE_ELSEWHERE
        assert policy(hosts="cos.example.org").rate_per_second == RATE_ELSEWHERE
        assert policy(host="192.0.2.1", rate_per_second=0).rate_per_second == 0
        assert policy(rate_per_second=7).rate_per_second == 7


class TestNames:
    def test_they_are_lower_case_and_our_own_stay(self, policy) -> None:
        names = policy(hosts=" COS.Example.org , other.example ").origins.names
        assert {"cos.example.org", "other.example", "localhost", "127.0.0.1", "::1"} <= names

    @pytest.mark.parametrize(
        "text", ["http://a.example", "a.example:80", "a.example/x", "*.example", "a b", "ä.example", "u@a"]
    )
    def test_one_that_is_none(self, policy, text) -> None:
        with pytest.raises(BadSetting, match="COS_HOSTS="):
            policy(hosts=text)

    @pytest.mark.parametrize(
        "text",
        [
            "a.example",
            "ftp://a.example",
            "http://",
            "http://a.example/x",
            "http://a?b",
            "http://[::1",
            "null",
            "*",
        ],
    )
    def test_an_origin_that_is_none(self, policy, text) -> None:
        with pytest.raises(BadSetting, match="COS_ORIGINS="):
            policy(origins=text)

    def test_origins_are_compared_as_browsers_send_them(self, policy) -> None:
        pages = policy(origins="HTTP://Localhost:5173/,https://a.example").origins.pages
        assert pages == {"http://localhost:5173", "https://a.example"}


def test_parts_of_a_list() -> None:
    assert parts(" a, ,b,,") == ["a", "b"]
    assert parts("") == []
