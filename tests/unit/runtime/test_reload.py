"""The note by which `cos reload` says who asks."""

from __future__ import annotations

import json
import os

import pytest

from cos.runtime.reload import NOTE, leave_note, take_note

NOBODY = {"via": "SIGHUP", "user": None}


class TestNote:
    def test_is_taken_once(self, tmp_path) -> None:
        leave_note(tmp_path, os.getpid())
        taken = take_note(tmp_path)
        assert taken["via"] == "cos reload"
        assert taken["user"]
        assert take_note(tmp_path) == NOBODY

    def test_of_another_process_stays_for_that(self, tmp_path) -> None:
        leave_note(tmp_path, os.getpid() + 1)
        assert take_note(tmp_path) == NOBODY
        assert (tmp_path / NOTE).exists()

    @pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"for": "me"}', '{"for": ' + "9" * 5000])
    def test_that_is_none(self, tmp_path, text) -> None:
        (tmp_path / NOTE).write_text(text)
        assert take_note(tmp_path) == NOBODY

    def test_a_strange_one_is_cut(self, tmp_path) -> None:
        note = {"for": os.getpid(), "via": "x" * 5000, "user": {"a": 1}}
        (tmp_path / NOTE).write_text(json.dumps(note))
        assert take_note(tmp_path) == {"via": "x" * 100, "user": "{'a': 1}"}

    def test_no_folder_no_note(self, tmp_path) -> None:
        """A reload is asked for all the same."""
        leave_note(tmp_path / "away", 1)
        assert take_note(tmp_path / "away") == NOBODY

    def test_a_link_is_not_followed(self, tmp_path) -> None:
        (tmp_path / "other").write_text("kept")
        (tmp_path / NOTE).symlink_to(tmp_path / "other")
        leave_note(tmp_path, os.getpid())
        assert (tmp_path / "other").read_text() == "kept"
        assert take_note(tmp_path) == NOBODY
