"""`cos import`: bring events in from a file of JSON lines."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, cast

import typer

from cos.cli.options import ApiUrl, DataDir, Json, settings
from cos.cli.screen import counting, say, show_json, standard_input

if TYPE_CHECKING:
    import httpx

    from cos.config import Settings

app = typer.Typer(no_args_is_help=True)

#: Fields that hold when something happened, where none is named.
TIME_FIELDS = ("time", "at", "timestamp", "created_at")
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:?\d{2})", re.ASCII)
_CHUNK_BYTES = 128 * 1024
_GZIP_MAGIC = b"\x1f\x8b"


def add_to(tree: typer.Typer) -> None:
    """Add this group to the tree."""
    tree.add_typer(app, name="import", help="Bring events in from a file.")


@app.callback()
def _group() -> None:
    """Bring events in."""


@app.command(name="events")
def events(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="JSON lines, gzip or not; - reads standard input.")
    ],
    module: Annotated[str, typer.Option("--module", "-m", help="Module of the events.")] = "import",
    event_type: Annotated[str, typer.Option("--type", "-t", help="Type of the events.")] = "event.imported",
    key_field: Annotated[
        str | None,
        typer.Option("--key-field", help="Field that tells one event from another; default: all of it."),
    ] = None,
    time_field: Annotated[
        str | None,
        typer.Option("--time-field", help=f"Field with the time; default: {', '.join(TIME_FIELDS)}."),
    ] = None,
    subject_field: Annotated[
        str | None, typer.Option("--subject-field", help="Field that becomes the subject.")
    ] = None,
    data_dir: DataDir = None,
    api_url: ApiUrl = None,
    as_json: Json = False,
) -> None:
    """Record each line of a file as an event, once, however often and from wherever the import is run again.

    A line is any JSON object: all of it becomes the event's data. Each line has a key made of its content (a line that
    stands twice in the file counts twice), so an import that was interrupted is simply run again.

    What `cos export events` wrote is known by its first line: its events keep their ids, times and all else, straight
    into the database of this data folder, and the options for fields do not matter.
    """
    from cos.cli.client import answer, api
    from cos.common import clock
    from cos.memory.exchange import HEADER

    mapping = Mapping(
        module=module,
        event_type=event_type,
        key_field=key_field,
        time_field=time_field,
        subject_field=subject_field,
    )
    began = clock.monotonic()
    given = settings(data_dir=data_dir)
    with _opened(file) as source, counting("import", quiet=as_json) as advance:
        first = source.readline()
        if first.strip() == HEADER:
            done = _bring_in(given, api_url, source, advance)
        else:
            with api(given, api_url) as client:
                done = answer(_send(client, mapping, chain((first,), source), advance))
    seconds = clock.monotonic() - began
    total = done["recorded"] + done["duplicates"]
    if as_json:
        show_json({**done, "seconds": round(seconds, 3)})
        return
    say(
        f"{total} events: {done['recorded']} new, {done['duplicates']} recorded before; "
        f"{total / seconds if seconds else 0:,.0f} events/s"
    )


class Mapping:
    """How a line becomes an event."""

    def __init__(
        self,
        *,
        module: str,
        event_type: str,
        key_field: str | None,
        time_field: str | None,
        subject_field: str | None,
    ) -> None:
        """Take the choices of the command line."""
        import msgspec

        self._head = msgspec.json.encode({"module": module, "type": event_type})[:-1]
        self._module = module
        self._key_field = key_field
        self._time_fields = TIME_FIELDS if time_field is None else (time_field,)
        self._time_wanted = time_field is not None
        self._subject_field = subject_field
        self._decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
        self._encode = msgspec.json.Encoder().encode
        self._seen: Counter[bytes] = Counter()

    def lines(self, source: Iterable[bytes], advance: Any) -> Iterator[bytes]:
        """Give the events as chunks of lines; raises BadInput at a line that is none."""
        from cos.errors import BadInput

        chunk = bytearray()
        count = 0
        for number, line in enumerate(source, 1):
            stripped = line.strip()
            if not stripped:
                # An empty line keeps its place, so that the server counts lines as the file does.
                chunk += b"\n"
                continue
            try:
                chunk += self.event(number, stripped)
            except BadInput as bad:
                raise BadInput(
                    f"{bad.detail} What stands before it may be recorded already: mend it and run the import again."
                ) from None
            count += 1
            if len(chunk) >= _CHUNK_BYTES:
                yield bytes(chunk)
                chunk.clear()
                advance(count)
                count = 0
        if chunk:
            yield bytes(chunk)
            advance(count)

    def event(self, number: int, line: bytes) -> bytes:
        """Give the event of one line, with a line break.

        Raises:
            BadInput: the line is no JSON object, or lacks a field that was asked for.
        """
        import msgspec

        from cos.errors import BadInput

        try:
            fields = self._decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BadInput(f"Line {number} is not a JSON object: {_why(line, error)}.") from None
        parts = [self._head, b',"idempotency_key":', self._encode(self._key(number, line, fields))]
        time = self._time(number, fields)
        if time is not None:
            parts += (b',"time":', self._encode(time))
        if self._subject_field is not None:
            parts += (b',"subject":', self._encode(_text(_field(number, fields, self._subject_field))))
        return b"".join((*parts, b',"data":', line, b"}\n"))

    def _key(self, number: int, line: bytes, fields: dict[str, Any]) -> str:
        if self._key_field is not None:
            content = bytes(_field(number, fields, self._key_field))
            return f"import:{self._module}:{hashlib.blake2b(content, digest_size=16).hexdigest()}"
        digest = hashlib.blake2b(line, digest_size=16)
        self._seen[digest.digest()] += 1
        times = self._seen[digest.digest()]
        return f"import:{self._module}:{digest.hexdigest()}{'' if times == 1 else f':{times}'}"

    def _time(self, number: int, fields: dict[str, Any]) -> str | None:
        from cos.errors import BadInput

        for name in self._time_fields:
            if name in fields:
                text = _text(fields[name])
                if _TIME.fullmatch(text):
                    return text
                if self._time_wanted:
                    raise BadInput(
                        f"Line {number}: {name} is {text[:60]!r}, not a time with a timezone "
                        "such as 2026-01-31T12:00:00Z."
                    )
            elif self._time_wanted:
                raise BadInput(f"Line {number} has no field {name!r}.")
        return None


def _bring_in(given: Settings, api_url: str | None, source: IO[bytes], advance: Any) -> dict[str, int]:
    import asyncio

    from cos.errors import BadInput
    from cos.runtime.exchange import bring_in

    if api_url is not None:
        raise BadInput("An export is brought into a data folder, not through an API: use --data-dir.")
    return asyncio.run(bring_in(given, source, advance=advance))


def _field(number: int, fields: dict[str, Any], name: str) -> Any:
    from cos.errors import BadInput

    if name not in fields:
        raise BadInput(f"Line {number} has no field {name!r}.")
    return fields[name]


def _why(line: bytes, error: Exception) -> str:
    """Say why a line is no object: the decoder takes a missing half of a surrogate pair for the end of the line."""
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return str(error)
    whole = "truncated" in str(error)
    return "it holds half of a surrogate pair, which is no valid text" if whole else str(error)


def _text(raw: Any) -> str:
    import msgspec

    value = msgspec.json.decode(raw)
    return value if isinstance(value, str) else bytes(raw).decode()


def _send(client: httpx.Client, mapping: Mapping, source: Iterable[bytes], advance: Any) -> httpx.Response:
    return client.post(
        "/events", content=mapping.lines(source, advance), headers={"content-type": "application/x-ndjson"}
    )


@contextmanager
def _opened(file: str) -> Iterator[IO[bytes]]:
    """Open the file, or standard input, unpacking it if it is packed."""
    from cos.errors import BadInput

    try:
        if file == "-":
            raw: io.BufferedReader = cast("io.BufferedReader", standard_input())
            yield _unpacked(raw)
            return
        with Path(file).open("rb") as raw:
            yield _unpacked(raw)
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise BadInput(f"{file} is not a whole gzip file: {error}.") from None
    except IsADirectoryError:
        raise BadInput(f"{file} is a folder; give a file of JSON lines.") from None
    except FileNotFoundError:
        raise BadInput(f"There is no file {file}.") from None
    except PermissionError:
        raise BadInput(f"The file {file} may not be read by this account.") from None


def _unpacked(raw: io.BufferedReader) -> IO[bytes]:
    return cast("IO[bytes]", gzip.GzipFile(fileobj=raw) if raw.peek(2)[:2] == _GZIP_MAGIC else raw)
