"""The order of the tests: at random with a seed that is printed, or exactly as a file lists them.

Off by default: `--cos-order random` draws a seed, `--cos-order random:SEED` repeats an order; the ini setting
`cos_order` does the same for every run. Modules change places, then the classes of a module, then their tests, so that
wide fixtures are still made once.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cos.common.ids import Dice, dice, random_hex
from cos.errors import BadInput
from cos.testing.results import SEEDS

_SEED_LIMIT = 2**32
_SELECTED = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--cos-order`, its setting, and what our own reruns are told with."""
    told = "run the tests as given, or at random: given, random or random:SEED"
    group = parser.getgroup("cos")
    group.addoption("--cos-order", metavar="ORDER", help=told)
    group.addoption("--cos-select", metavar="FILE", help="run exactly the tests that this JSON file lists")
    parser.addini("cos_order", f"{told.capitalize()}.", default="given")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Choose the seed, the controller's for all workers; or read the list."""
    try:
        if config.getoption("cos_select"):
            config.stash[_SELECTED] = read_list(Path(config.getoption("cos_select")))
            _be_quiet(config)
            return
        given = getattr(config, "workerinput", {}).get("cos_seed")
        seed = (
            given
            if given is not None
            else seed_of(config.getoption("cos_order") or config.getini("cos_order"))
        )
    except BadInput as error:
        raise pytest.UsageError(str(error)) from None
    if seed is not None:
        config.stash[SEEDS] = {"order": seed}


def seed_of(order: str) -> int | None:
    """Read an order: a seed for a random one, drawn when none is given; None for the given order.

    Raises:
        BadInput: names what is no order.
    """
    kind, colon, number = order.partition(":")
    if order == "given":
        return None
    if kind == "random" and not colon:
        return int(random_hex(4), 16)
    if kind == "random" and number.isdecimal() and int(number) < _SEED_LIMIT:
        return int(number)
    raise BadInput(
        f"The order {order!r} is none: give given, random or random:SEED with a SEED below {_SEED_LIMIT}."
    )


def read_list(path: Path) -> list[str]:
    """Read node ids from a JSON file.

    Raises:
        BadInput: there is no such list.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(
            f"The list of tests {path} cannot be read ({error}): give a JSON list of node ids."
        ) from None
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise BadInput(f"The list of tests {path} is no JSON list of node ids.")
    return found


def _be_quiet(config: pytest.Config) -> None:
    """A rerun is ours alone: it writes no records of the person's run, stops for nobody and chooses nothing else."""
    for name, value in {
        "xmlpath": None,
        "lf": False,
        "failedfirst": False,
        "newfirst": False,
        "usepdb": False,
    }.items():
        if hasattr(config.option, name):
            setattr(config.option, name, value)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Give a worker of xdist the seed: all workers must collect in the same order."""
    seed = node.config.stash.get(SEEDS, {}).get("order")
    if seed is not None:
        node.workerinput["cos_seed"] = seed


def pytest_report_header(config: pytest.Config) -> str | None:
    """Print the seed."""
    seed = config.stash.get(SEEDS, {}).get("order")
    return None if seed is None else f"cos: random order; the same again with --cos-order random:{seed}"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Shuffle, before pytest brings tests together that share a parameter of a wide fixture."""
    seed = config.stash.get(SEEDS, {}).get("order")
    if seed is not None:
        items[:] = shuffled(items, dice(seed))


@pytest.hookimpl(trylast=True, specname="pytest_collection_modifyitems")
def pytest_collection_select(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep exactly the listed tests, in the order of the list, whatever others have chosen."""
    chosen = config.stash.get(_SELECTED, None)
    if chosen is None:
        return
    by_id = {item.nodeid: item for item in items}
    kept = [by_id[test] for test in chosen if test in by_id]
    ids = {item.nodeid for item in kept}
    rest = [item for item in items if item.nodeid not in ids]
    if rest:
        config.hook.pytest_deselected(items=rest)
    items[:] = kept


def shuffled(items: list[pytest.Item], draws: Dice, depth: int = 0) -> list[pytest.Item]:
    """Change the order of the groups at this depth of the node ids, then within each of them."""
    groups: dict[str, list[pytest.Item]] = {}
    for item in items:
        groups.setdefault(
            item.nodeid.split("::")[depth] if item.nodeid.count("::") >= depth else "", []
        ).append(item)
    if len(groups) == 1 and all(item.nodeid.count("::") <= depth for item in items):
        return items
    names = list(groups)
    draws.shuffle(names)
    return [item for name in names for item in shuffled(groups[name], draws, depth + 1)]
