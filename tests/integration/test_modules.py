"""Modules that packages add: made, found, migrated, served; left out in words."""  # house: length (one subject)

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from cos.backend.access import service as access
from cos.backend.access.schemas import TokenIn
from cos.backend.app import create_app, with_edge
from cos.backend.module import Module
from cos.cli.scaffold import draft
from cos.config import load_settings
from cos.memory.highway import Highway
from cos.runtime.core import Core
from cos.runtime.modules import found, given
from cos.runtime.server import ApiServer, bind
from cos.runtime.trial import trial

ROOT = Path(__file__).parents[2]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder that packages are installed into."""
    return tmp_path / "site"


@pytest.fixture
def install(site: Path, tmp_path: Path) -> Callable[..., Path]:
    """Make a package with `cos module new` and install it as pip does; gives the folder of its code."""

    def put(name: str, **changed: str) -> Path:
        draft.package(name, tmp_path / f"cos-{name}")
        code = site / f"cos_{name}"
        (tmp_path / f"cos-{name}" / "src" / f"cos_{name}").rename(_parent(code))
        for file, text in changed.items():
            (code / f"{file}.py").write_text(text)
        told = site / f"cos_{name}-0.1.0.dist-info"
        told.mkdir()
        (told / "METADATA").write_text(f"Metadata-Version: 2.1\nName: cos-{name}\nVersion: 0.1.0\n")
        (told / "entry_points.txt").write_text(f"[cos.modules]\n{name} = cos_{name}.module:module\n")
        return code

    return put


def _parent(path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    return path


@pytest.fixture
def here(site, monkeypatch):
    """Make what is installed importable in this process, and forget it after."""
    monkeypatch.syspath_prepend(str(site))
    yield
    for name in [one for one in sys.modules if one.startswith("cos_")]:
        del sys.modules[name]


@pytest.fixture
async def empty(pg):
    """Take the modules' schemas away, before and after."""

    async def drop() -> None:
        for row in await pg.fetch("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'module\\_%'"):
            name = row["nspname"]
            await pg.execute(f'DROP SCHEMA "{name}" CASCADE')  # house: sql (a name that Postgres gave)

    await drop()
    yield
    await drop()


@pytest.fixture
def whole(servers, settings, clean, empty):
    """Give a core over the session's servers with what is installed, and a client of its API."""

    async def start(stack) -> tuple[Core, httpx.AsyncClient]:
        modules = found(settings)
        await modules.migrate(servers.postgres.url)
        core = await stack.enter_async_context(
            Core(
                settings=settings,
                database_url=servers.postgres.url,
                redis_url=servers.redis.url,
                modules=modules,
            )
        )
        transport = httpx.ASGITransport(
            app=with_edge(create_app(core.services())), raise_app_exceptions=False
        )
        client = httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000")
        return core, await stack.enter_async_context(client)

    return start


@pytest.fixture
async def stack():
    """Leave what a test enters when it ends."""
    async with AsyncExitStack() as entered:
        yield entered


def trouble(settings, name: str) -> str:
    """Give why a module does not run."""
    return next(one.trouble for one in found(settings).installed if one.name == name) or ""


class TestAsProcess:
    """`cos up` with packages that come and go."""

    @pytest.fixture
    def cos(self, tmp_path, site):
        """Run a command of COS over one data folder, with what is installed in the site folder."""
        kept = {n: v for n, v in os.environ.items() if not n.startswith(("COS_", "PYTHONDONTWRITEBYTECODE"))}
        kept |= {"COS_DATA_DIR": str(tmp_path / "data"), "COS_FSYNC": "false", "COS_PORT": "0"}
        kept["PYTHONPATH"] = str(site)

        def command(*arguments: str) -> str:
            ran = subprocess.run(
                [sys.executable, "-m", "cos.cli.main", *arguments],
                env=kept,
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            assert ran.returncode == 0, ran.stderr
            return ran.stdout

        yield command
        subprocess.run(
            [sys.executable, "-m", "cos.cli.main", "down"], env=kept, capture_output=True, check=False
        )

    async def test_a_package_comes_works_and_goes(self, cos, install, site, eventually) -> None:
        """Its routes, tables and subscribers are there with it; one that is broken harms none; both may go again."""
        install("notes")
        install("broken", module="raise RuntimeError('out of ink')\n")
        cos("up", "--detach")
        state = json.loads(cos("status", "--json"))
        async with httpx.AsyncClient(base_url=state["api"]["url"], trust_env=False) as client:
            made = (await client.post("/modules/notes/items", json={"title": "a"})).json()

            async def heard() -> object:
                return (await client.get(f"/modules/notes/items/{made['id']}")).json()["noticed_at"]

            assert await eventually(heard)
            assert (await client.get("/ready")).json()["status"] == "degraded"
        assert [one["state"] for one in state["modules"].values()] == ["failed", "running"]
        assert state["causes"] == [
            "The module broken of cos-broken 0.1.0 cannot be loaded: RuntimeError: out of ink."
        ]
        assert "COS_MODULE_NOTES_LIST_LIMIT" in cos("config")
        cos("down")

        site.rename(site.with_name("uninstalled"))
        cos("up", "--detach")
        state = json.loads(cos("status", "--json"))
        assert (state["health"], state["modules"]) == ("ok", {})
        async with httpx.AsyncClient(base_url=state["api"]["url"], trust_env=False) as client:
            assert (await client.get("/modules/notes/items")).status_code == 404
            told = (await client.get("/events", params={"module": "notes"})).json()
        assert [event["type"] for event in told["events"]] == ["item.added"]
        cos("down")


class TestMigration:
    """A module's tables."""

    async def test_they_are_counted_in_their_own_schema(self, install, here, whole, pg, stack) -> None:
        """COS's own count is as it was."""
        before = await pg.fetchval("SELECT version_num FROM public.alembic_version")
        install("notes")
        await whole(stack)
        assert await pg.fetchval("SELECT version_num FROM module_notes.alembic_version") == "0001"
        assert await pg.fetchval("SELECT version_num FROM public.alembic_version") == before

    async def test_an_upgrade_keeps_what_is_there(self, install, here, servers, settings, empty, pg) -> None:
        code = install("notes")
        await found(settings).migrate(servers.postgres.url)
        await pg.execute("INSERT INTO module_notes.item VALUES (gen_random_uuid(), 'a', now())")
        first = (code / "migrations/versions/0001_first.py").read_text()
        second = first.replace('"0001"', '"0002"').replace("= None", '= "0001"', 1)
        begins = second.index("_STATEMENTS")
        second = (
            second[:begins]
            + '_STATEMENTS = ("ALTER TABLE module_notes.item ADD COLUMN mood text",)\n\n\n'
            + second[second.index("def upgrade") :]
        )
        (code / "migrations/versions/0002_mood.py").write_text(second)
        modules = found(settings)
        await modules.migrate(servers.postgres.url)
        assert modules.running != []
        assert [tuple(row) for row in await pg.fetch("SELECT title, mood FROM module_notes.item")] == [
            ("a", None)
        ]

    async def test_newer_tables_are_refused_in_words(
        self, install, here, servers, settings, empty, pg
    ) -> None:
        install("notes")
        await found(settings).migrate(servers.postgres.url)
        await pg.execute("UPDATE module_notes.alembic_version SET version_num = '0007'")
        modules = found(settings)
        await modules.migrate(servers.postgres.url)
        (one,) = modules.installed
        assert "are at revision 0007, which the installed package does not know" in one.trouble
        assert "pip install --upgrade cos-notes" in one.trouble

    async def test_a_revision_that_fails_leaves_the_module_out_and_nothing_behind(
        self, install, here, whole, pg, stack
    ) -> None:
        """The others run, and COS is degraded and says why."""
        code = install("notes")
        revision = code / "migrations/versions/0001_first.py"
        revision.write_text(revision.read_text().replace("CREATE INDEX", "CREATE NONSENSE"))
        core, client = await whole(stack)
        report = await core.monitor.measure()
        assert report.state == "degraded"
        assert (
            "The module notes of cos-notes 0.1.0 has tables that could not be brought up to date"
            in " ".join(report.causes)
        )
        assert (await client.get("/modules/notes/items")).status_code == 404
        assert (await client.post("/events", json={"type": "a", "module": "b"})).status_code == 201
        assert await pg.fetchval("SELECT to_regclass('module_notes.item')") is None


class TestLeftOut:
    """What cannot run is named in a sentence, and the rest runs."""

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("import nothing_of_that_name\n", "ModuleNotFoundError: No module named 'nothing_of_that_name'"),
            ("raise SystemExit(3)\n", "SystemExit: 3"),
            ("module = 3\n", "is int, not a cos.module.Module"),
            ("from cos.module import Module\nmodule = Module(name='other')\n", "calls itself other"),
            (
                "from cos.module import Module\nmodule = Module(name='No good')\n",
                "cannot be called 'No good'",
            ),
            (
                "from cos.module import Module\nmodule = Module(name='notes', highway=lambda _: 1 / 0)\n",
                "ZeroDivisionError",
            ),
        ],
    )
    def test_a_module_that_is_none(self, install, here, settings, text, said) -> None:
        install("notes", module=text)
        assert said in trouble(settings, "notes")

    def test_a_group_that_is_taken(self, settings) -> None:
        """By another highway, or by a module before it."""

        def highway() -> Highway:
            made = Highway()

            @made.subscriber(group="same")
            async def hear(event: dict) -> None: ...

            return made

        modules = [Module(name="a", highway=highway()), Module(name="b", highway=highway())]
        assert [one.name for one in given(modules, settings).running] == ["a"]
        assert "The group 'same' has a subscriber already" in given(modules, settings).installed[1].trouble

    def test_a_bad_setting(self, install, here, tmp_path, monkeypatch) -> None:
        """Named with its value, wherever it was set."""
        install("notes")
        (tmp_path / "data").mkdir()
        (tmp_path / "data/cos.toml").write_text("[module.notes]\nlist_limit = 7\n[module.gone]\nx = 1\n")
        settings = load_settings(data_dir=tmp_path / "data")
        assert [one.settings.list_limit for one in found(settings).running] == [7]
        monkeypatch.setenv("COS_MODULE_NOTES_LIST_LIMIT", "none")
        assert "COS_MODULE_NOTES_LIST_LIMIT=none cannot be used" in trouble(settings, "notes")
        monkeypatch.delenv("COS_MODULE_NOTES_LIST_LIMIT")
        (tmp_path / "data/cos.toml").write_text("[module.notes]\nlimit = 7\n")
        assert "sets 'limit' of [module.notes]: none of list_limit" in trouble(settings, "notes")

    async def test_health_of_its_own_is_shown_and_never_vital(self, core, settings) -> None:
        """Also where making or measuring it fails."""

        def broken(context):
            raise RuntimeError("no pulse")

        made = given([Module(name="a", health=broken)], settings)
        async with Core(
            settings=settings,
            database_url=core.database_url,
            redis_url=core.redis_url,
            worker=False,
            modules=made,
        ) as other:
            report = await other.monitor.measure()
        assert "The health of module.a could not be measured: no pulse." in report.causes
        assert report.state != "down"


class TestScopes:
    """What the routes of a package ask for."""

    #: The example package, in which deleting is for administrators, reading a secret too, and which has WebSockets.
    CHANGED = """
from fastapi import WebSocket
from cos.module import needs

kept = APIRouter(prefix="/kept", dependencies=[needs("admin")])


@kept.get("/{name}")
async def secret(name: str) -> str:
    return name


@kept.websocket("/live")
async def watch(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.close()


@router.websocket("/any")
async def anything(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.close()


@router.websocket("/look", dependencies=[needs("read")])
async def look(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.close()


@router.post("/find", dependencies=[needs("read")])
async def find() -> None: ...


router.include_router(kept)
"""

    @pytest.fixture
    async def asking(self, install, here, whole, stack):
        """The package in a COS that asks for tokens, on a real port."""
        code = install("notes")
        text = (code / "router.py").read_text()
        text = text.replace(
            '@router.delete("/items/{item_id}",',
            '@router.delete("/items/{item_id}", dependencies=[needs("admin")],',
        ).replace("import BoundedRoute,", "import BoundedRoute, needs,")
        (code / "router.py").write_text(text + self.CHANGED)
        core, _ = await whole(stack)
        settings = load_settings(data_dir=core.settings.data_dir, require_token=True)
        app = create_app(dataclasses.replace(core.services(), settings=settings))
        server = ApiServer(app=with_edge(app), listener=bind(0), stop_timeout_seconds=2)
        await server.start()
        stack.push_async_callback(server.stop)
        http = await stack.enter_async_context(httpx.AsyncClient(base_url=server.url, trust_env=False))

        async def bearer(scope: str) -> dict[str, str]:
            async with core.sessions() as db, db.begin():
                made = await access.create_token(db, TokenIn(name=scope, scope=scope))
            return {"Authorization": f"Bearer {made.token}"}

        return http, {scope: await bearer(scope) for scope in ("read", "write", "admin")}

    async def test_each_asks_for_what_it_says(self, asking) -> None:
        """Or for the default; with less it is refused, by the gate, before anything of it runs."""
        http, bearer = asking
        for method, path, least in (
            ("GET", "/items", "read"),
            ("POST", "/items", "write"),
            ("POST", "/find", "read"),
            ("DELETE", "/items/00000000-0000-0000-0000-000000000000", "admin"),
            ("GET", "/kept/a", "admin"),
            ("GET", "/kept/%61", "admin"),
            ("GET", "/nowhere", "read"),
            ("POST", "/nowhere", "write"),
        ):
            asked = f"/modules/notes{path}"
            refused = [
                scope
                for scope in bearer
                if (await http.request(method, asked, headers=bearer[scope])).status_code == 403
            ]
            assert refused == list(bearer)[: list(bearer).index(least)], (method, path)
            assert (await http.request(method, asked)).status_code == 401

    async def test_a_websocket_asks_for_writing_unless_it_says_else(self, asking) -> None:
        http, bearer = asking
        for path, least in (("/any", "write"), ("/look", "read"), ("/kept/live", "admin")):
            url = str(http.base_url).replace("http", "ws", 1).rstrip("/") + f"/modules/notes{path}"
            answered = []
            for headers in bearer.values():
                try:
                    async with connect(url, additional_headers=headers, proxy=None):
                        answered.append(101)
                except InvalidStatus as refused:
                    answered.append(refused.response.status_code)
            fewer = list(bearer).index(least)
            assert answered == [403] * fewer + [101] * (3 - fewer), path

    async def test_acts_of_administrators_are_told(self, asking) -> None:
        """Those that change something, and a WebSocket over which they might."""
        http, bearer = asking
        made = await http.post("/modules/notes/items", json={"title": "a"}, headers=bearer["write"])
        item = f"/modules/notes/items/{made.json()['id']}"
        assert (await http.delete(item, headers=bearer["admin"])).status_code == 204
        await http.get("/modules/notes/kept/a", headers=bearer["admin"])
        url = str(http.base_url).replace("http", "ws", 1).rstrip("/") + "/modules/notes/kept/live"
        async with connect(url, additional_headers=bearer["admin"], proxy=None):
            pass
        query = {"type": "admin.acted", "after": "0-0"}
        told = (await http.get("/events", params=query, headers=bearer["read"])).json()["events"]
        assert [(one["data"]["method"], one["data"]["path"]) for one in told] == [
            ("DELETE", item),
            ("WEBSOCKET", "/modules/notes/kept/live"),
        ]
        assert told[1]["data"]["status"] == 101

    async def test_the_document_says_it(self, asking) -> None:
        http, bearer = asking
        paths = (await http.get("/openapi.json", headers=bearer["read"])).json()["paths"]
        asked = {
            (path.removeprefix("/modules/notes"), method): one["x-cos-scope"]
            for path, item in paths.items()
            if path.startswith("/modules/notes")
            for method, one in item.items()
        }
        assert asked == {
            ("/items", "get"): "read",
            ("/items", "post"): "write",
            ("/items/{item_id}", "get"): "read",
            ("/items/{item_id}", "delete"): "admin",
            ("/find", "post"): "read",
            ("/kept/{name}", "get"): "admin",
        }

    def test_one_that_is_no_scope_keeps_the_package_out(self, install, here, settings) -> None:
        """A word that was mistyped must not leave a route open."""
        code = install("notes")
        (code / "router.py").write_text(
            (code / "router.py").read_text() + "\nfrom cos.module import needs\nneeds('open')\n"
        )
        assert "cannot ask for the scope 'open'" in trouble(settings, "notes")


class TestNew:
    """What `cos module new` writes passes every check as it stands."""

    @pytest.fixture
    def run(self):
        """Run a tool; it must end well."""

        def tool(*command: object, cwd: Path, **environment: str) -> None:
            ran = subprocess.run(
                [str(one) for one in command],
                cwd=cwd,
                env=os.environ | environment,
                capture_output=True,
                text=True,
                timeout=300,
                check=False,
            )
            assert ran.returncode == 0, ran.stdout + ran.stderr

        return tool

    @pytest.mark.parametrize("name", ["a", "night_notes_of_1999_abcd"])
    def test_a_package(self, run, tmp_path, name) -> None:
        """Style, format, types and layers, with a short name and a long one."""
        binaries, folder = Path(sys.executable).parent, tmp_path / "made"
        draft.package(name, folder)
        run(binaries / "ruff", "check", "--no-cache", ".", cwd=folder)
        run(binaries / "ruff", "format", "--no-cache", "--check", ".", cwd=folder)
        run(binaries / "lint-imports", "--no-cache", cwd=folder, PYTHONPATH="src")
        # Under COS's own options, which are stricter, so that what was already checked need not be again.
        run(binaries / "mypy", "--config-file", ROOT / "pyproject.toml", folder / "src", cwd=ROOT)

    def test_its_own_tests(self, run, tmp_path) -> None:
        draft.package("notes", tmp_path / "made")
        run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=tmp_path / "made")

    def test_a_feature_in_the_tree(self, run, tmp_path) -> None:
        """Style, format, layers, house rules, documentation, and its own tests."""
        binaries, tree = Path(sys.executable).parent, tmp_path / "tree"
        files = subprocess.run(
            ["git", "ls-files", "-co", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        for name in filter(lambda one: (ROOT / one).is_file(), files.stdout.splitlines()):
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).write_bytes((ROOT / name).read_bytes())
        draft.feature("night_notes", tree)
        run("git", "init", "-q", cwd=tree)
        run("git", "add", "-A", cwd=tree)
        run(binaries / "ruff", "check", "--no-cache", ".", cwd=tree)
        run(binaries / "ruff", "format", "--no-cache", "--check", ".", cwd=tree)
        run(binaries / "lint-imports", "--no-cache", cwd=tree, PYTHONPATH="src")
        tests = (
            "tests/contract/test_night_notes.py",
            "tests/unit/backend/night_notes",
            "tests/house/test_docs.py",
        )
        run(sys.executable, "-m", "pytest", "-q", *tests, cwd=tree, PYTHONPATH="src")

    async def test_a_trial_says_why_a_module_cannot_run(self, tmp_path) -> None:
        with pytest.raises(Exception, match="holds no revisions"):
            async with trial(tmp_path / "cos", modules=[Module(name="a", migrations=tmp_path)]):
                pass
