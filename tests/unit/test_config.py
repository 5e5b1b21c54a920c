"""Settings: arguments before the environment before the file before the defaults, and each can say where it is from."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cos.config import LIVE, MOST_FILE_BYTES, Settings, explain, load_settings, reload
from cos.errors import BadSetting


@pytest.fixture(autouse=True)
def nothing_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting comes from the machine that the tests run on."""
    for name in [name for name in os.environ if name.upper().startswith("COS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COS_DATA_DIR", str(tmp_path))


@pytest.fixture
def file(tmp_path):
    """Write the settings file of the data folder."""

    def write(text: str) -> Path:
        path = tmp_path / "cos.toml"
        path.write_text(text)
        return path

    return write


def origins(settings: Settings) -> dict[str, str]:
    return {one.name: one.origin for one in explain(settings) if one.origin != "default"}


class TestSources:
    """Where a value comes from."""

    def test_the_order(self, file, monkeypatch, tmp_path) -> None:
        """An argument wins over the environment, the environment over the file, the file over the default."""
        path = file('port = 1\nrelay_batch = 2\nlog_level = "debug"\n')
        monkeypatch.setenv("COS_RELAY_BATCH", "3")
        monkeypatch.setenv("cos_log_format", "json")
        monkeypatch.setenv("COS_LOG_LEVEL", "")
        found = load_settings(port=4, relay_batch=None)
        assert (found.port, found.relay_batch, found.log_level, found.log_format) == (4, 3, "debug", "json")
        assert origins(found) == {
            "data_dir": "environment",
            "port": "argument",
            "relay_batch": "environment",
            "log_format": "environment",
            "log_level": str(path),
        }

    def test_another_file(self, file, tmp_path, monkeypatch) -> None:
        """Named by an argument or the environment; the folder's own is then not read, and it may name the folder."""
        file("port = 1")
        other = tmp_path / "other.toml"
        other.write_text(f'data_dir = "{tmp_path}/elsewhere"\nrelay_batch = 5')
        assert load_settings(config=other).relay_batch == 5
        monkeypatch.setenv("COS_CONFIG", str(other))
        monkeypatch.delenv("COS_DATA_DIR")
        found = load_settings()
        assert (found.data_dir, found.port, found.relay_batch) == (tmp_path / "elsewhere", 8000, 5)
        assert found.config == other

    def test_no_file_is_fine(self) -> None:
        assert origins(load_settings()) == {"data_dir": "environment"}

    def test_secrets_are_masked(self, monkeypatch) -> None:
        """Wherever they come from; all else is JSON."""
        monkeypatch.setenv("COS_DATABASE_URL", "postgresql://me:geheim@host/db")
        shown = explain(load_settings(redis_url="redis://:geheim@host"))
        assert "geheim" not in str(shown)
        assert {one.name: one.value for one in shown}["database_url"].startswith("***")
        assert {one.name for one in shown} == set(Settings.model_fields)
        assert all(one.description and one.variable == f"COS_{one.name.upper()}" for one in shown)


class TestBadValues:
    """One sentence that names the setting, its value and its place."""

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            (
                "port = 'x'",
                r"The setting port=x in .*cos\.toml cannot be used: input should be a valid integer",
            ),
            ("port = 70000", "less than or equal to 65535"),
            ("prot = 1", r"sets 'prot', which is none of data_dir, "),
            ("[port]\nx = 1", "cannot be used"),
            ('config = "x"', "sets 'config'"),
            ('data_dir = "x"', "sets 'data_dir'"),
            ("port", "is not TOML"),
            ("\udc80", "is not TOML"),
            ("#" * (MOST_FILE_BYTES + 1), "is longer than 1024 KiB"),
            (
                'database_url = "mysql://me:geheim@x"',
                "The setting database_url in .* must start with postgresql://",
            ),
        ],
    )
    def test_in_the_file(self, tmp_path, text, said) -> None:
        (tmp_path / "cos.toml").write_bytes(text.encode(errors="surrogateescape"))
        with pytest.raises(BadSetting, match=said) as caught:
            load_settings()
        assert "geheim" not in caught.value.detail

    def test_a_pipe_in_its_place_is_not_waited_for(self, tmp_path) -> None:
        """Nobody may ever write to it; one that is named is read, as a shell gives it."""
        os.mkfifo(tmp_path / "cos.toml")
        with pytest.raises(BadSetting, match="is a pipe"):
            load_settings()
        reading, writing = os.pipe()
        os.write(writing, b"port = 4321")
        os.close(writing)
        assert load_settings(config=Path(f"/dev/fd/{reading}")).port == 4321
        os.close(reading)

    def test_elsewhere(self, file, monkeypatch, tmp_path) -> None:
        """The variable is named where it was set there, though the file sets it too."""
        file("port = 'y'")
        monkeypatch.setenv("COS_PORT", "x")
        with pytest.raises(BadSetting, match=r"The setting COS_PORT=x cannot be used"):
            load_settings()
        with pytest.raises(BadSetting, match=r"The setting COS_PORT=z cannot be used"):
            load_settings(port="z")
        with pytest.raises(BadSetting, match="There is no settings file"):
            load_settings(config=tmp_path / "nowhere")
        with pytest.raises(BadSetting, match="is a directory"):
            load_settings(config=tmp_path)


class TestReload:
    """Reading them again in a process that runs."""

    def test_what_can_change_changes_in_place(self, file) -> None:
        """Every part holds the same object; what needs a restart is named and left."""
        path = file('log_level = "error"\nport = 1')
        found = load_settings(relay_batch=7)
        path.write_text('max_data_bytes = 2048\nport = 2\nrelay_batch = 9\nlog_level = "debug"')
        assert reload(found) == (["log_level", "max_data_bytes"], ["port"])
        assert (found.log_level, found.max_data_bytes, found.port, found.relay_batch) == ("debug", 2048, 1, 7)
        path.unlink()
        assert reload(found)[0] == ["log_level", "max_data_bytes"]
        assert (found.log_level, found.max_data_bytes) == ("info", 1024 * 1024)

    def test_a_bad_file_changes_nothing(self, file) -> None:
        found = load_settings()
        file("max_data_bytes = 2048\nport = 'x'")
        with pytest.raises(BadSetting):
            reload(found)
        assert found.max_data_bytes == 1024 * 1024

    def test_the_list_names_settings(self) -> None:
        assert set(LIVE) <= set(Settings.model_fields)
