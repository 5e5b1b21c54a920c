"""Which servers a process uses."""

from __future__ import annotations

import pytest

from cos.config import load_settings
from cos.errors import BadSetting
from cos.infra.folder import DataFolder
from cos.runtime.servers import given_urls


@pytest.fixture
def folder(tmp_path) -> DataFolder:
    return DataFolder.open(tmp_path / "d")


class TestGivenUrls:
    """For a process that runs no servers of its own."""

    def test_from_the_settings(self, folder) -> None:
        """They win over what runs in the folder."""
        folder.write_run({"postgres": {"url": "postgresql://other"}, "redis": {"url": "redis://other"}})
        settings = load_settings(data_dir=folder.path, database_url="postgresql://a/b", redis_url="redis://c")
        assert given_urls(settings, folder) == ("postgresql://a/b", "redis://c")

    def test_from_the_cos_in_the_folder(self, folder) -> None:
        folder.write_run({"postgres": {"url": "postgresql://there"}, "redis": {"url": "unix:///there"}})
        settings = load_settings(data_dir=folder.path)
        assert given_urls(settings, folder) == ("postgresql://there", "unix:///there")

    @pytest.mark.parametrize(
        ("given", "missing"),
        [({}, "COS_DATABASE_URL"), ({"database_url": "postgresql://a/b"}, "COS_REDIS_URL")],
    )
    def test_from_nowhere(self, folder, given, missing) -> None:
        """The setting that is missing is named, and the command that would do."""
        with pytest.raises(BadSetting, match=f"{missing}.*cos up"):
            given_urls(load_settings(data_dir=folder.path, **given), folder)
