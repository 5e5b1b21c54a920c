"""Under which identity Postgres runs when COS is root."""

from __future__ import annotations

import os
import pwd
import signal
import stat
from pathlib import Path

import asyncpg
import psutil
import pytest

from cos.errors import ServerFailed
from cos.infra import postgres as postgres_module
from cos.infra.account import Account, check_program, choose_account, give, unprivileged_entry
from cos.infra.folder import DataFolder
from cos.infra.postgres import EmbeddedPostgres

ROOT = os.geteuid() == 0


def real_account():
    """The account that Postgres gets where namespaces are refused; for anybody but root, one's own."""
    entry = unprivileged_entry() if ROOT else pwd.getpwuid(os.geteuid())
    return Account(name=entry.pw_name, uid=entry.pw_uid, gid=entry.pw_gid, namespace=False)


def capabilities(pid):
    """Read the effective rights of a process, as the kernel writes them."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return next(line.split()[1] for line in lines if line.startswith("CapEff:"))


async def test_only_root_needs_another_identity():
    account = await choose_account()

    assert (account is not None) == ROOT
    if account is not None:
        assert account.uid != 0
        assert account.owner == ((0, os.getegid()) if account.namespace else (account.uid, account.gid))


async def test_servers_run_without_the_rights_of_root(postgres, redis):
    """Neither has any capability, whoever started it; Redis only where the system allows namespaces."""
    account = await choose_account()
    servers = [postgres, redis] if account is None or account.namespace else [postgres]

    assert {capabilities(server.pid) for server in servers} == {"0000000000000000"}


class TestRealAccount:
    """A system that refuses user namespaces, such as a container with a strict seccomp profile."""

    @pytest.fixture
    def account(self, monkeypatch):
        account = real_account()

        async def choose():
            return account

        monkeypatch.setattr(postgres_module, "choose_account", choose)
        return account

    async def test_postgres_runs_as_the_account_in_folders_that_it_could_not_walk_to(
        self, folder, account, eventually
    ):
        """The data folder stays private to root; only the two folders that Postgres needs change hands."""
        server = EmbeddedPostgres(folder=folder, fsync=False)
        await server.start()
        try:
            os.kill(server.pid, signal.SIGKILL)
            await eventually(lambda: server.restarts == 1 and server.state == "running")
            connection = await asyncpg.connect(server.url)
            assert await connection.fetchval("select 1") == 1
            await connection.close()
            assert set(psutil.Process(server.pid).uids()) == {account.uid}
        finally:
            await server.stop()

        assert {path.stat().st_uid for path in (folder.postgres, folder.sockets)} == {account.uid}
        assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
        assert DataFolder.open(folder.path) == folder, "the next start accepts the sockets of that account"

    async def test_cluster_changes_hands_both_ways(self, cluster_folder, account, monkeypatch):
        """A kernel that refuses namespaces today may allow them after an update, and the other way round."""
        owners = []
        for choose in (postgres_module.choose_account, choose_account):
            monkeypatch.setattr(postgres_module, "choose_account", choose)
            server = EmbeddedPostgres(folder=cluster_folder, fsync=False)
            await server.start()
            await server.stop()
            owners.append({path.stat().st_uid for path in cluster_folder.postgres.rglob("*")})

        assert owners[0] == {account.uid}
        assert len(owners[1]) == 1

    async def test_program_that_it_cannot_start_is_told_with_the_way_out(self, tmp_path):
        program = tmp_path / "postgres"
        program.touch(mode=0o600)

        # Root's own folder already keeps the account out; from one's own only the program does.
        with pytest.raises(
            ServerFailed, match=r"cannot enter .*: install COS where every account can read it"
        ):
            await check_program(real_account(), program)


def test_giving_changes_what_is_not_yet_theirs(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "link").symlink_to("/etc/passwd")
    owner = (54321, 54321) if ROOT else (os.geteuid(), os.getegid())
    before = Path("/etc/passwd").stat().st_uid

    give(tmp_path / "a", owner)

    assert {path.lstat().st_uid for path in (tmp_path / "a", *(tmp_path / "a").iterdir())} == {owner[0]}
    assert Path("/etc/passwd").stat().st_uid == before, "links are not followed"
