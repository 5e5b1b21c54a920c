"""One database under every driver's name for it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import make_url

from cos.errors import BadSetting
from cos.testing.database import PostgresDatabase

names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12)
hosts = st.sampled_from(["db.example", "127.0.0.1", "::1", "/run/a folder/with %and+"])
databases = st.builds(
    PostgresDatabase,
    host=hosts,
    port=st.integers(1, 65535),
    user=names,
    password=st.just("") | names,
    database=names.filter(lambda name: not name.startswith("/")),
    options=st.just({}) | st.just({"sslmode": "prefer"}),
)


class TestUrls:
    """What the drivers read out of the URLs."""

    @given(databases)
    def test_psycopg_reads_what_was_meant(self, database: PostgresDatabase) -> None:
        found = conninfo_to_dict(database.url)
        wanted = {name: str(value) for name, value in database.parameters.items()}
        assert {"port": "5432"} | found == wanted

    @given(databases)
    def test_sqlalchemy_reads_what_was_meant(self, database: PostgresDatabase) -> None:
        url = make_url(database.sqlalchemy_async)
        assert (url.username, url.password or "", url.database) == (
            database.user,
            database.password,
            database.database,
        )
        assert (url.query.get("host") or url.host) == database.host
        assert url.drivername == "postgresql+asyncpg"

    @given(databases)
    def test_it_reads_its_own(self, database: PostgresDatabase) -> None:
        """A URL that it gives is one that it takes."""
        assert PostgresDatabase.parse(database.url, setting="x") == database

    def test_another_of_the_same_server(self) -> None:
        one = PostgresDatabase.parse("postgresql+psycopg://u:p%2F@h:5/d?sslmode=require", setting="x")
        assert one.named("e").url == "postgresql://u:p%2F@h:5/e?sslmode=require"
        assert one.at(host="/s", port=5432).url == "postgresql://u:p%2F@/d?host=%2Fs&sslmode=require"
        assert one.django["OPTIONS"] == {"sslmode": "require"}
        assert one.asyncpg_parameters["ssl"] == "require"


class TestBadUrls:
    """What is none."""

    @pytest.mark.parametrize(
        "url",
        [
            "",
            "x",
            "mysql://h/d",
            "postgresql:///d",
            "postgresql://u:p/q@h/d",
            "postgresql://h:port/d",
            "postgresql://[h/d",
        ],
    )
    def test_it_is_told_without_the_password(self, url) -> None:
        """The setting and an example; never what was given, which may hold a password."""
        with pytest.raises(BadSetting, match=r"^the option is no URL of a Postgres: it looks like") as caught:
            PostgresDatabase.parse(url, setting="the option")
        assert "p/q" not in caught.value.detail
