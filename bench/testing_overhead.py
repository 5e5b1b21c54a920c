"""Measures what the test kit costs a suite of 1,000 trivial async tests, against pytest-asyncio alone.

    python bench/testing_overhead.py [--pairs 12] [--tests 1000]

Whole processes of pytest in interleaved pairs: the kit loaded and off, loaded and strict, and with each check alone.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from cos.testing.benchmark import compare
from cos.testing.command import Command

ALONE = ["-p", "pytest_asyncio.plugin"]
KIT = [*ALONE, "-p", "cos.testing.plugin"]
WAYS = {
    "loaded, off": KIT,
    "loops strict": [*KIT, "--cos-loops=strict"],
    "report": [*KIT, "--cos-report=report.jsonl"],
    "all: loops, overrides, order, report": [
        *KIT,
        "--cos-loops=strict",
        "--cos-overrides=strict",
        "--cos-order=random",
        "--cos-report=report.jsonl",
    ],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=12)
    parser.add_argument("--tests", type=int, default=1000)
    parser.add_argument("--scope", default="function", help="of the event loop")
    parser.add_argument("--way", choices=WAYS, action="append")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cos-overhead-") as folder:
        place = Path(folder)
        scope = f"asyncio_default_test_loop_scope={arguments.scope}\n"
        scope += f"asyncio_default_fixture_loop_scope={arguments.scope}\n"
        (place / "pytest.ini").write_text(f"[pytest]\nasyncio_mode=auto\n{scope}")
        tests = "".join(f"async def test_{n}(): await asyncio.sleep(0)\n" for n in range(arguments.tests))
        (place / "test_trivial.py").write_text(f"import asyncio\n{tests}")
        for name in arguments.way or WAYS:
            found = compare(
                _pytest(place, WAYS[name], name),
                _pytest(place, ALONE, "alone"),
                pairs=arguments.pairs,
                name=name,
            )
            print(
                f"{found}; {found.a.latency_ms_p50:.0f} ms against {found.b.latency_ms_p50:.0f}", flush=True
            )


def _pytest(place: Path, options: list[str], name: str) -> Command:
    return Command(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options],
        cwd=place,
        env={"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONDONTWRITEBYTECODE": ""},
        name=name,
    )


if __name__ == "__main__":
    main()
