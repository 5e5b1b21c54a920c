"""The token that the command line sends: where it comes from, who may read it, where it goes."""

from __future__ import annotations

import os

import pytest

from cos.cli.credentials import FILE, keep, token_for
from cos.config import load_settings
from cos.errors import BadSetting

HERE = "http://127.0.0.1:8000"
TOKEN = "cos_0123456789abcdef_" + "a" * 43


@pytest.fixture
def given(tmp_path, monkeypatch):
    """Make settings over a folder that holds a token."""
    for name in [name for name in os.environ if name.startswith("COS_")]:
        monkeypatch.delenv(name)
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)

    def make(**more):
        return load_settings(data_dir=folder, **more)

    keep(make(), "from the folder".replace(" ", "-"))
    return make


@pytest.fixture
def file(tmp_path):
    """Write a token file; gives its path."""

    def write(content: bytes, mode: int = 0o600):
        path = tmp_path / "given"
        path.write_bytes(content)
        path.chmod(mode)
        return path

    return write


class TestWhich:
    def test_the_setting_wins_over_the_file_over_the_folder(self, given, file) -> None:
        path = file(b"from-the-file")
        assert token_for(given(token=TOKEN, token_file=path), HERE, own=True) == TOKEN
        assert token_for(given(token_file=path), HERE, own=True) == "from-the-file"
        assert token_for(given(), HERE, own=True) == "from-the-folder"

    def test_that_of_the_folder_goes_to_its_own_cos_alone(self, given) -> None:
        assert token_for(given(), HERE, own=False) is None
        assert token_for(given(), "https://cos.example.org", own=False) is None

    def test_none(self, given, tmp_path) -> None:
        (tmp_path / "data" / FILE).unlink()
        assert token_for(given(), HERE, own=True) is None

    @pytest.mark.parametrize("blank", [" ", "\n", "\t \r\n"])
    def test_a_blank_one_is_none(self, given, file, blank) -> None:
        """And the next place is looked at, as if it were not set."""
        assert token_for(given(token=blank), HERE, own=True) == "from-the-folder"
        assert token_for(given(token_file=file(blank.encode())), HERE, own=True) == "from-the-folder"

    def test_what_stands_around_it_is_not_sent(self, given, file) -> None:
        assert token_for(given(token=f" {TOKEN}\n"), HERE, own=True) == TOKEN
        assert token_for(given(token_file=file(f"\n{TOKEN}\r\n".encode())), HERE, own=True) == TOKEN


class TestWhat:
    BAD = ("a b", "a\nb", "a\r\nX-Other: 1", "a\x00b", "é", "a\x7f", "a" * 4097)

    @pytest.mark.parametrize("text", BAD)
    def test_that_no_header_can_hold(self, given, file, text) -> None:
        """In one sentence that does not repeat it: a part of it may be a secret."""
        for settings, where in (
            (given(token=text), "COS_TOKEN"),
            (given(token_file=file(text.encode())), "token file"),
        ):
            with pytest.raises(BadSetting, match="holds no token") as raised:
                token_for(settings, HERE, own=True)
            assert where in raised.value.detail
            assert text not in raised.value.detail


class TestFile:
    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o777])
    def test_that_others_can_use(self, given, file, mode) -> None:
        with pytest.raises(BadSetting, match="chmod 600"):
            token_for(given(token_file=file(TOKEN.encode(), mode)), HERE, own=True)

    @pytest.mark.parametrize("mode", [0o600, 0o400])
    def test_of_our_own(self, given, file, mode) -> None:
        assert token_for(given(token_file=file(TOKEN.encode(), mode)), HERE, own=True) == TOKEN

    def test_that_is_not_there(self, given, tmp_path) -> None:
        with pytest.raises(BadSetting, match="There is no token file"):
            token_for(given(token_file=tmp_path / "none"), HERE, own=True)

    def test_that_is_a_folder(self, given, tmp_path) -> None:
        with pytest.raises(BadSetting, match="is no file"):
            token_for(given(token_file=tmp_path), HERE, own=True)

    def test_that_is_a_pipe_is_not_waited_for(self, given, tmp_path) -> None:
        os.mkfifo(tmp_path / "pipe", 0o600)
        with pytest.raises(BadSetting, match="is no file"):
            token_for(given(token_file=tmp_path / "pipe"), HERE, own=True)

    def test_that_is_linked_to(self, given, file, tmp_path) -> None:
        """Secrets are often mounted so; what counts is who can read what it leads to."""
        (tmp_path / "link").symlink_to(file(TOKEN.encode()))
        assert token_for(given(token_file=tmp_path / "link"), HERE, own=True) == TOKEN
        file(TOKEN.encode(), 0o644)
        with pytest.raises(BadSetting, match="chmod 600"):
            token_for(given(token_file=tmp_path / "link"), HERE, own=True)


class TestWhere:
    @pytest.mark.parametrize(
        "url",
        [
            "http://127.0.0.1:8000",
            "http://localhost",
            "HTTP://LOCALHOST:1",
            "http://[::1]:8000",
            "https://cos.example.org",
            "HTTPS://203.0.113.7",
        ],
    )
    def test_nobody_reads_it_on_the_way(self, given, url) -> None:
        assert token_for(given(token=TOKEN), url, own=False) == TOKEN

    @pytest.mark.parametrize(
        "url",
        [
            "http://cos.example.org",
            "http://203.0.113.7:8000",
            "http://localhost.example.org",
            "http://localhost@evil.example",
            "http://127.0.0.1@evil.example/",
            "http://evil.example/#127.0.0.1",
            "http://evil.example?http://localhost",
            "http://[::1].evil.example",
            "http://[::1",
            "http://localhost.",
            "http://[fe80::1]",
            "//evil.example",
            "httpss://evil.example",
            "ftp://evil.example",
            "",
            "nonsense",
        ],
    )
    def test_anywhere_else_it_is_not_sent(self, given, url) -> None:
        with pytest.raises(BadSetting, match="use https"):
            token_for(given(token=TOKEN), url, own=False)


class TestKeep:
    def test_private_and_in_place_of_what_is_there(self, given, tmp_path) -> None:
        path = tmp_path / "data" / FILE
        path.chmod(0o644)
        assert keep(given(), TOKEN) == path
        assert path.stat().st_mode & 0o777 == 0o600
        assert token_for(given(), HERE, own=True) == TOKEN

    def test_a_link_is_replaced_not_followed(self, given, tmp_path) -> None:
        other = tmp_path / "other"
        other.write_text("mine")
        path = tmp_path / "data" / FILE
        path.unlink()
        path.symlink_to(other)
        (tmp_path / "data" / f"{FILE}.new").symlink_to(other)
        keep(given(), TOKEN)
        assert other.read_text() == "mine"
        assert not path.is_symlink()

    def test_where_it_cannot_be_kept_no_copy_stays(self, given, tmp_path) -> None:
        place = tmp_path / "place"
        (place / "full").mkdir(parents=True)
        with pytest.raises(BadSetting, match="cannot be kept"):
            keep(given(token_file=place), TOKEN)
        assert sorted(one.name for one in tmp_path.iterdir()) == ["data", "place"]

    def test_no_folder(self, given, tmp_path) -> None:
        with pytest.raises(BadSetting, match="no such file"):
            keep(given(token_file=tmp_path / "none" / "token"), TOKEN)
