"""The documentation is true: what the code knows is written from it, and every link leads somewhere."""

from __future__ import annotations

import re
from itertools import chain
from pathlib import Path

import pytest

from cos import errors
from cos.cli.main import tree
from cos.config import Settings

LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)")
CODE = re.compile(r"^(```|~~~).*?^\1|`[^`\n]*`", re.MULTILINE | re.DOTALL)


def links_of(text: str) -> list[str]:
    """Give the targets inside the project that a document names, code left out."""
    targets = [found["target"] for found in LINK.finditer(CODE.sub("", text))]
    return [target for target in targets if not re.match(r"[a-z]+:", target)]


def anchors_of(text: str) -> set[str]:
    """Give the anchors of a document's headings."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def dead_links(document: Path, text: str) -> list[str]:
    """Give the links of a document that lead to no file or no heading."""
    dead = []
    for link in links_of(text):
        path, _, anchor = link.partition("#")
        target = document.parent / path
        missing = path and not target.exists()
        if missing or (anchor and anchor not in anchors_of(target.read_text() if path else text)):
            dead.append(link)
    return dead


class TestWrittenParts:
    """The parts that `make docs` writes."""

    @pytest.mark.parametrize(
        "path", ["docs/settings.md", "docs/cli.md", "docs/http-api.md", "docs/metrics.md"]
    )
    def test_they_are_up_to_date(self, script, root, path) -> None:
        """What stands there is what the code says now; otherwise run `make docs`."""
        assert (root / path).read_text() == script("scripts/docs.py").written_anew(path), "run `make docs`"

    @pytest.mark.parametrize("name", Settings.model_fields)
    def test_every_setting_is_told(self, root, name) -> None:
        """Each setting stands in the table, with its description."""
        field = Settings.model_fields[name]
        rows = [
            line
            for line in (root / "docs/settings.md").read_text().splitlines()
            if f"`COS_{name.upper()}`" in line
        ]
        assert len(rows) == 1
        assert field.description
        assert field.description in rows[0]

    def test_every_command_is_told(self, root) -> None:
        """Each command of the tree has its section."""
        text = (root / "docs/cli.md").read_text()
        app = tree()
        names = [one.name or one.callback.__name__ for one in app.registered_commands if not one.hidden]
        assert [name for name in names if f"\n### cos {name}\n" not in text] == []
        assert [group.name for group in app.registered_groups if f"\n### cos {group.name} " not in text] == []

    def test_every_exit_code_is_told(self, root) -> None:
        """Each error's exit code and sentence stand in the table."""
        text = (root / "docs/cli.md").read_text()
        family = [
            kind
            for kind in vars(errors).values()
            if isinstance(kind, type) and issubclass(kind, errors.CosError)
        ]
        rows = [(f"\n| `{kind.exit_code}` | ", kind.__doc__.splitlines()[0]) for kind in family]
        assert [row for row in chain.from_iterable(rows) if row not in text] == []


class TestLinks:
    """Links between documents."""

    def test_every_link_leads_somewhere(self, root, tracked) -> None:
        """No document names a file or a heading that is not there."""
        documents = [root / path for path in tracked if path.endswith(".md")]
        dead = {str(one.relative_to(root)): dead_links(one, one.read_text()) for one in documents}
        assert {document: links for document, links in dead.items() if links} == {}

    @pytest.mark.parametrize(
        ("text", "dead"),
        [
            ("[a](no-such-file.md)", ["no-such-file.md"]),
            ("[a](settings.md#no-such-heading)", ["settings.md#no-such-heading"]),
            ("[a](#here)", ["#here"]),
            (
                "# Here it is\n\n[a](#here-it-is) [b](settings.md#settings) [c](../README.md) [d](mailto:x) `[e](f)`",
                [],
            ),
            ("```\n[a](no-such-file.md)\n```", []),
        ],
    )
    def test_a_dead_one_is_found(self, root, text, dead) -> None:
        assert dead_links(root / "docs/any.md", text) == dead
