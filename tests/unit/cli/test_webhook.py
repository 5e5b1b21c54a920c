"""`cos webhook`, against a COS that runs; the name leads nowhere, so nothing is ever sent."""

from __future__ import annotations

import json

import pytest

URL = "https://hook.invalid/cos"


@pytest.fixture
def made(living):
    """A webhook as `create` tells of it; gone after the test."""
    ran = living("webhook", "create", URL, "-m", "none", "-t", "a*", "-d", "mine", "--json")
    assert ran.code == 0, ran.err
    webhook = json.loads(ran.out)
    yield webhook
    living("webhook", "delete", webhook["id"])


def test_from_create_to_delete(living) -> None:
    """Each command changes what it says; the secret is printed once."""
    ran = living("webhook", "create", URL, "--module", "none")
    lines = dict(line.split(maxsplit=1) for line in ran.out.splitlines() if " " in line)
    key = lines["id"]
    assert lines["secret"].startswith("whsec_")
    assert f"{key}\tactive\t{URL}" in living("webhook", "list").out
    assert living("webhook", "pause", key, "--reason", "holidays").code == 0
    shown = living("webhook", "show", key)
    assert "holidays" in shown.out
    assert "whsec_" not in shown.out
    assert living("webhook", "enable", key).code == 3
    assert json.loads(living("webhook", "resume", key, "--from-now", "--json").out)["state"] == "active"
    assert "whsec_" in living("webhook", "rotate", key, "--overlap-seconds", "0").out
    assert living("webhook", "delete", key).out == f"The webhook to {URL} is deleted.\n"
    assert key not in living("webhook", "list").out


def test_a_test_that_is_not_taken(living, made) -> None:
    """Says why, ends with 1, and stands among the tries."""
    ran = living("webhook", "test", made["id"])
    assert ran.code == 1
    assert "hook.invalid" in ran.sentence
    assert "webhook.test" in living("webhook", "show", made["id"]).out


@pytest.mark.parametrize("url", ["http://127.0.0.1/", "ftp://a.example/", "http://0x7f.1/"])
def test_what_is_refused(living, url) -> None:
    assert living("webhook", "create", url).code == 3
