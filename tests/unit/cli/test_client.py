"""The way to the API: what an answer becomes, and what is said when there is none."""

from __future__ import annotations

import socket

import httpx
import pytest

from cos.cli.client import Refused, answer, api
from cos.config import load_settings
from cos.errors import BadSetting, NotRunning, Unavailable


class TestAnswer:
    """An answer is JSON or an error with a sentence."""

    def test_good(self) -> None:
        assert answer(httpx.Response(201, json={"id": 1})) == {"id": 1}

    def test_refused(self) -> None:
        with pytest.raises(Refused, match="too long"):
            answer(httpx.Response(422, json={"detail": "It is too long."}))

    def test_not_now(self) -> None:
        """503 is what a later try may mend, and has an exit code of its own."""
        with pytest.raises(Unavailable, match="Postgres"):
            answer(httpx.Response(503, json={"detail": "Postgres does not answer."}))

    @pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'"x"', b"{}"])
    def test_something_else_answers(self, body) -> None:
        """What is no problem document is told by its status."""
        with pytest.raises(Refused, match="answered 418"):
            answer(httpx.Response(418, content=body))


class TestApi:
    """Where it is, and what went wrong on the way."""

    def test_no_cos_in_the_folder(self, tmp_path) -> None:
        with pytest.raises(NotRunning, match="cos up"), api(load_settings(data_dir=tmp_path / "d"), None):
            raise AssertionError

    @pytest.mark.parametrize("url", ["ftp://127.0.0.1", "127.0.0.1:8000", "x"])
    def test_no_address(self, tmp_path, url) -> None:
        with (
            pytest.raises(BadSetting, match="looks like http"),
            api(load_settings(data_dir=tmp_path), url) as client,
        ):
            client.get("/health")

    def test_nobody_answers(self, tmp_path) -> None:
        """A port that is bound but not listened on."""
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
            with pytest.raises(NotRunning, match=url), api(load_settings(data_dir=tmp_path), url) as client:
                client.get("/health")
