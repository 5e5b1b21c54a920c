"""`cos import events`: each line once, however often it is run, and a sentence for each line that is none."""

from __future__ import annotations

import gzip
import io
import json
import uuid
from pathlib import Path

import pytest

from cos.cli.importer import Mapping
from cos.errors import BadInput


@pytest.fixture
def module() -> str:
    """A module of this test's own in the log that all share."""
    return f"m{uuid.uuid4().hex}"


@pytest.fixture
def bring(living, module):
    """Import a file, or standard input, into this test's module."""

    def run(file: object, *arguments: str, stdin: bytes = b""):
        return living("import", "events", str(file), "--module", module, *arguments, stdin=stdin)

    return run


@pytest.fixture
def listed(living, module):
    """The events of this test's module, in the log's order."""

    def read() -> list[dict[str, object]]:
        return json.loads(living("events", "-m", module, "-n", "1000", "--json").out)["events"]

    return read


class TestSources:
    """Where the lines may come from."""

    def test_a_plain_file(self, bring, listed, sample) -> None:
        """Every line in its order, its data unchanged, its time the event's; run again, nothing new."""
        first, again = bring(sample), bring(sample)
        assert (first.code, again.code) == (0, 0)
        assert first.out.startswith("201 events: 201 new, 0 recorded before; ")
        assert again.out.startswith("201 events: 0 new, 201 recorded before; ")
        lines = [json.loads(line) for line in sample.read_text().splitlines()]
        found = listed()
        assert [event["data"] for event in found] == lines
        assert {event["type"] for event in found} == {"event.imported"}
        assert found[0]["time"] < found[-1]["time"]
        assert found[0]["time"].startswith(lines[0]["at"][:11])

    def test_gzip_and_standard_input_bring_the_same(self, bring, listed, sample, tmp_path) -> None:
        """Packed or not, from a file or piped: the same lines have the same keys."""
        packed = gzip.compress(sample.read_bytes())
        file = tmp_path / "no-ending"
        file.write_bytes(packed)
        counts = [
            json.loads(ran.out)
            for ran in (
                bring(file, "--json"),
                bring("-", "--json", stdin=packed),
                bring("-", "--json", stdin=sample.read_bytes()),
                bring("-", "--json", stdin=sample.read_bytes().replace(b"\n", b"\r\n\n")),
            )
        ]
        assert [(one["recorded"], one["duplicates"]) for one in counts] == [(201, 0), *[(0, 201)] * 3]
        assert counts[0]["last_position"] == listed()[-1]["position"]
        assert all(one["seconds"] > 0 for one in counts)

    @pytest.mark.parametrize(
        "content",
        [b"", b"\n\r\n  \n", gzip.compress(b"", mtime=0)],
        ids=["no byte", "blank lines", "packed"],
    )
    def test_nothing(self, bring, content) -> None:
        assert bring("-", stdin=content).out.startswith("0 events: 0 new")

    def test_the_same_line_twice_counts_twice(self, bring, listed) -> None:
        """And a file that has grown brings only what is new, further copies too."""
        line = b'{"a": 1}\n'
        assert json.loads(bring("-", "--json", stdin=line * 2).out)["recorded"] == 2
        grown = json.loads(bring("-", "--json", stdin=line * 3 + b'{"a": 2}\n').out)
        assert (grown["recorded"], grown["duplicates"]) == (2, 2)
        assert [event["data"]["a"] for event in listed()] == [1, 1, 1, 2]

    def test_another_module_has_keys_of_its_own(self, bring, living, module) -> None:
        line = b'{"a": 1}\n'
        bring("-", stdin=line)
        assert "1 new" in living("import", "events", "-", "-m", f"{module[:60]}.b", stdin=line).out


class TestFields:
    """Which field becomes what."""

    def test_a_key_of_its_own(self, bring, listed) -> None:
        """With a key field a changed line of the same key is the same event."""
        bring("-", "--key-field", "id", stdin=b'{"id": 1, "v": "old"}\n{"id": 2}\n')
        again = json.loads(
            bring("-", "--key-field", "id", "--json", stdin=b'{"id": 1, "v": "new"}\n{"id": "1"}\n').out
        )
        assert (again["recorded"], again["duplicates"]) == (1, 1)
        assert [event["data"].get("v") for event in listed()] == ["old", None, None]

    def test_time_and_subject(self, bring, listed) -> None:
        """The named fields; a subject that is no text is written as JSON."""
        bring(
            *("-", "--time-field", "when", "--subject-field", "about", "--type", "note.written"),
            stdin=b'{"when": "2020-02-29T23:00:00-05:00", "about": "ch01"}\n'
            b'{"when": "2021-01-01T00:00:00.5Z", "about": 7}\n',
        )
        found = listed()
        assert [event["time"] for event in found] == ["2020-03-01T04:00:00Z", "2021-01-01T00:00:00.500000Z"]
        assert [event["subject"] for event in found] == ["ch01", "7"]
        assert {event["type"] for event in found} == {"note.written"}

    @pytest.mark.parametrize("field", ["time", "at", "timestamp", "created_at"])
    def test_the_usual_time_fields(self, bring, listed, field) -> None:
        bring("-", stdin=json.dumps({field: "2020-01-01T00:00:00Z"}).encode())
        assert listed()[0]["time"] == "2020-01-01T00:00:00Z"

    @pytest.mark.parametrize(
        "value", ["yesterday", "2020-01-01", "2020-01-01T00:00:00", "2020-01-01T00:00Z", 7, None]
    )
    def test_a_usual_field_that_holds_no_time(self, bring, listed, value) -> None:
        """Nobody said that it is the time: the event happened when it was recorded."""
        assert bring("-", stdin=json.dumps({"at": value}).encode()).code == 0
        [event] = listed()
        assert event["data"] == {"at": value}
        assert event["time"] == event["recordedtime"]

    @pytest.mark.parametrize(
        ("option", "line", "said"),
        [
            ("--key-field", b'{"a": 1}', "no field 'x'"),
            ("--time-field", b'{"a": 1}', "no field 'x'"),
            ("--subject-field", b'{"a": 1}', "no field 'x'"),
            ("--time-field", b'{"x": "2020-01-01T00:00:00"}', "not a time with a timezone"),
            ("--time-field", b'{"x": 5}', "not a time with a timezone"),
            ("--subject-field", b'{"x": "' + b"s" * 501 + b'"}', "501"),
        ],
    )
    def test_a_field_that_is_not_there(self, bring, option, line, said) -> None:
        """The line's number and the field's name."""
        ran = bring("-", option, "x", stdin=b'\n{"x": "2020-01-01T00:00:00Z"}\n' + line)
        assert ran.code == 3
        assert "Line 3" in ran.sentence
        assert said in ran.sentence


class TestBadLines:
    """A line that cannot be an event."""

    @pytest.mark.parametrize(
        ("line", "said"),
        [
            (b"[1]", "object"),
            (b"17", "object"),
            (b'"text"', "object"),
            (b"null", "object"),
            (b"text", "JSON"),
            (b'{"a": 1', "JSON"),
            (b'{"a": NaN}', "JSON"),
            (b'{"a": "\\ud800"}', "surrogate"),
            (b'{"a": 1}{"a": 2}', "JSON"),
            (b'{"\xff": 1}', "UTF-8"),
            (b"[" * 100_000, "object"),
        ],
    )
    def test_it_is_named_before_it_is_sent(self, bring, line, said) -> None:
        """The line's number; and that the import is to be run again, as what stands before it may be recorded."""
        ran = bring("-", stdin=b'{"a": 0}\n' + line + b'\n{"a": 3}\n')
        assert ran.code == 3
        assert "Line 2" in ran.sentence
        assert said.lower() in ran.sentence.lower()
        assert "run the import again" in ran.sentence

    @pytest.mark.parametrize(
        ("line", "said"),
        [
            (b'{"a": "\\u0000"}', "NUL"),
            (b'{"a": ' + b"[" * 64 + b"]" * 64 + b"}", "64 levels"),
            (b'{"a": "' + b"x" * 1024 * 1024 + b'"}', "1048576"),
            (b'{"at": "2020-13-01T00:00:00Z"}', "time"),
        ],
    )
    def test_what_the_api_refuses(self, bring, listed, line, said) -> None:
        """Its line has the file's number, and what stands before it is recorded."""
        ran = bring("-", stdin=b'\n{"a": 0}\n\n' + line + b'\n{"a": 3}\n')
        assert ran.code == 3
        assert "Line 4: " in ran.sentence
        assert said in ran.sentence
        assert [event["data"] for event in listed()] == [{"a": 0}]

    def test_the_api_s_word_arrives_however_much_is_still_to_be_sent(self, bring) -> None:
        """Megabytes behind the bad line do not hide why the import ended."""
        more = b"".join(b'{"a": %d, "b": "%s"}\n' % (n, b"x" * 1000) for n in range(20_000))
        assert "Line 1: The data holds a NUL" in bring("-", stdin=b'{"a": "\\u0000"}\n' + more).sentence

    def test_mended_and_run_again(self, bring, listed, sample) -> None:
        """After the mend, each line stands in the log once and in order."""
        lines = sample.read_bytes().splitlines(keepends=True)
        assert bring("-", stdin=b"".join([*lines[:150], b"oops\n", *lines[150:]])).code == 3
        assert bring(sample).code == 0
        assert [event["data"] for event in listed()] == [json.loads(line) for line in lines]


class TestBadFiles:
    """A file that cannot be read."""

    def test_missing_or_a_folder(self, bring, tmp_path) -> None:
        assert "There is no file" in bring(tmp_path / "nowhere.jsonl").sentence
        assert "is a folder" in bring(tmp_path).sentence

    def test_damaged_gzip(self, bring, sample, tmp_path) -> None:
        """Cut short at any place, or with bytes that were changed: said, not traced."""
        whole = gzip.compress(sample.read_bytes())
        file = tmp_path / "damaged.gz"
        damaged = [whole[:cut] for cut in (3, 10, 11, len(whole) // 2, len(whole) - 1)]
        places = range(2, len(whole), len(whole) // 12)
        damaged += [whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :] for place in places]
        for content in damaged:
            file.write_bytes(content)
            ran = bring(file)
            # A flag or a name in the header may differ and the text be whole all the same.
            assert ran.code in {0, 3}
            if ran.code:
                assert "gzip" in ran.sentence or "is not a JSON object" in ran.sentence
        assert "201 recorded before" in bring(sample).out or bring(sample).code == 0

    def test_no_cos(self, cos, sample) -> None:
        assert cos("import", "events", str(sample)).code == 10


class TestMapping:
    """How a line becomes an event, without any COS."""

    def mapping(self, **chosen: str) -> Mapping:
        none = dict.fromkeys(("key_field", "time_field", "subject_field"))
        return Mapping(**{"module": "m", "event_type": "t", **none, **chosen})

    def test_the_data_is_the_line_to_the_byte(self) -> None:
        line = b'{ "b":1.0, "a" : [1e2] , "b":2}'
        event = self.mapping().event(1, line)
        assert event.endswith(b',"data":' + line + b"}\n")
        assert json.loads(event)["idempotency_key"].startswith("import:m:")

    def test_chunks_keep_every_line_in_its_place(self, sample: Path) -> None:
        """Empty lines stay, so that the API counts as the file does; the rate counts events."""
        counted: list[int] = []
        source = io.BytesIO(b"\n" + sample.read_bytes() * 10)
        sent = b"".join(self.mapping().lines(source, counted.append))
        assert sent.count(b"\n") == 2011
        assert sent.startswith(b"\n{")
        assert sum(counted) == 2010
        assert len({json.loads(line)["idempotency_key"] for line in sent.splitlines() if line}) == 2010

    def test_a_bad_line_comes_after_what_stands_before_it(self) -> None:
        with pytest.raises(BadInput, match="Line 2 is not a JSON object"):
            list(self.mapping().lines(io.BytesIO(b"{}\n[]\n"), lambda _: None))
