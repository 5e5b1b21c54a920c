"""Writes the parts of the documentation that the code knows best: settings, commands and exit codes.

    python scripts/docs.py

Each part stands between `<!-- begin: NAME -->` and `<!-- end: NAME -->`; a test holds that it is up to date.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, cast

import typer
from typer.core import TyperGroup

from cos import errors
from cos.backend.app import create_app
from cos.backend.cc.metrics import MEASURED
from cos.backend.deps import Services
from cos.cli import main as cli
from cos.config import Settings

ROOT = Path(__file__).parent.parent
#: Exit codes that no error of ours carries.
OTHER_CODES = {
    0: "It worked.",
    2: "The command line was not understood.",
    130: "It was interrupted (Ctrl-C).",
}
#: Answers that every route has, told once in the text.
_EVERYWHERE = {"default", "401", "403"}
DEFAULT_DATA_DIR = "this user's data folder, such as `~/.local/share/cos`"


def table(head: list[str], rows: list[list[str]]) -> str:
    """Give a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def settings() -> str:
    """Give the table of all settings: variable, default, what is allowed, what it does."""
    schema = Settings.model_json_schema()["properties"]
    return table(
        ["variable", "default", "allowed", "what it sets"],
        [
            [f"`COS_{name.upper()}`", _default(name), _allowed(one), one["description"]]
            for name, one in schema.items()
        ],
    )


def _default(name: str) -> str:
    field = Settings.model_fields[name]
    if field.default_factory is not None:
        return DEFAULT_DATA_DIR
    if field.default in {None, ""}:
        return "not set"
    return f"`{str(field.default).lower() if isinstance(field.default, bool) else field.default}`"


def _allowed(schema: dict[str, Any]) -> str:
    if schema.get("title", "").endswith("Url"):
        return "a URL"
    if "anyOf" in schema:
        schema = schema["anyOf"][0]
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "boolean":
        return "`true`, `false`"
    if "pattern" in schema:
        return f"`{schema['pattern']}`"
    low = f"above {schema['exclusiveMinimum']}" if "exclusiveMinimum" in schema else schema.get("minimum")
    if low is not None:
        return f"{low} to {schema['maximum']}"
    return "a path" if schema.get("format") == "path" else "a text"


def commands() -> str:
    """Give a section for each command: what it does, its usage, its arguments and options."""
    return "\n\n".join(_sections(_tree(), ("cos",)))


def _tree() -> TyperGroup:
    tree = cast("TyperGroup", typer.main.get_command(cli.tree()))
    for point in entry_points(group="cos.commands"):
        if point.value.startswith("cos."):
            tree.add_command(typer.main.get_command(point.load()), point.name)
    return tree


def _sections(group: TyperGroup, path: tuple[str, ...]) -> Iterator[str]:
    # Not `list_commands`: it would also name what other packages on this machine add.
    for name, command in group.commands.items():
        if command.hidden:
            continue
        if isinstance(command, TyperGroup):
            yield from _sections(command, (*path, name))
        else:
            yield _section(command, (*path, name))


def _section(command: Any, path: tuple[str, ...]) -> str:
    context = typer.Context(command, info_name=" ".join(path))
    usage = " ".join([context.info_name or "", *command.collect_usage_pieces(context)])
    parts = [f"### {' '.join(path)}", _plain(command.help or ""), f"    {usage}"]
    rows = [
        [f"`{_names(one)}`", _plain(getattr(one, "help", None) or "")]
        for one in command.params
        if _shown(one)
    ]
    return "\n\n".join([*parts, table(["", "what it is"], rows)] if rows else parts)


def _shown(parameter: Any) -> bool:
    return not getattr(parameter, "hidden", False)


def _names(parameter: Any) -> str:
    options = [*parameter.opts, *parameter.secondary_opts]
    return ", ".join(options) if options[0].startswith("-") else (parameter.metavar or parameter.name)


def _plain(text: str) -> str:
    return re.sub(r"(?<!\n)\n(?!\n)", " ", re.split(r"\n\s*(?:Args|Raises|Returns):", text)[0]).strip()


def exit_codes() -> str:
    """Give the table of exit codes, with the errors that carry each."""
    codes = {code: [sentence] for code, sentence in OTHER_CODES.items()}
    for error in dict.fromkeys(_family(errors.CosError)):
        codes.setdefault(error.exit_code, []).append((error.__doc__ or "").strip().splitlines()[0])
    return table(["code", "what happened"], [[f"`{code}`", " ".join(codes[code])] for code in sorted(codes)])


def _family(kind: type[errors.CosError]) -> Iterator[type[errors.CosError]]:
    if kind.__module__ == errors.__name__:
        yield kind
        for child in kind.__subclasses__():
            yield from _family(child)


def routes() -> str:
    """Give the table of all routes: method, path, what it does, and the statuses that it names."""
    document = create_app(
        cast("Services", None)
    ).openapi()  # nothing is asked of the services before a request
    rows = []
    for path, item in sorted(document["paths"].items()):
        for method, operation in item.items():
            statuses = ", ".join(status for status in operation["responses"] if status not in _EVERYWHERE)
            said = operation["description"].partition("\n\n")[0].replace("\n", " ")
            rows.append([f"`{method.upper()}`", f"`{path}`", operation["x-cos-scope"], said, statuses])
    return table(["method", "path", "scope", "what it does", "statuses"], rows)


def metrics() -> str:
    """Give the table of what the health monitor measures for Prometheus."""
    return table(["metric", "what it is"], [[f"`{name}`", told] for name, told, _ in MEASURED.values()])


PARTS = {
    "docs/http-api.md": {"routes": routes},
    "docs/metrics.md": {"measured": metrics},
    "docs/settings.md": {"settings": settings},
    "docs/cli.md": {"commands": commands, "exit codes": exit_codes},
}


def written_anew(path: str) -> str:
    """Give the text of a document with its written parts up to date."""
    text = (ROOT / path).read_text()
    for name, write in PARTS[path].items():
        begin, end = f"<!-- begin: {name} -->\n", f"<!-- end: {name} -->"
        before, _, rest = text.partition(begin)
        _, found, after = rest.partition(end)
        if not found:
            msg = f"{path} has no place for {name!r}: it needs the lines {begin.strip()} and {end}."
            raise ValueError(msg)
        text = f"{before}{begin}\n{write()}\n\n{end}{after}"
    return text


def main() -> None:
    """Write the documents."""
    for path in PARTS:
        (ROOT / path).write_text(written_anew(path))


if __name__ == "__main__":
    main()
