"""Who imports whom: relative and absolute imports, src layouts, and which tests a change can affect."""

from __future__ import annotations

import pytest

from cos.green.imports import Imports

TEXTS = {
    "src/shop/__init__.py": "",
    "src/shop/money.py": "from .rates import rate\n",
    "src/shop/rates.py": "import json\n",
    "src/shop/orders.py": "import shop.money as m\nfrom shop import rates\n",
    "src/shop/broken.py": "def (:\n",
    "tests/conftest.py": "import shop.orders\n",
    "tests/test_money.py": "from shop.money import convert\n",
    "tests/test_rates.py": "def test():\n    from shop import rates\n",
}


@pytest.fixture(scope="module")
def imports() -> Imports:
    return Imports(TEXTS)


def test_each_kind_of_import_is_followed(imports) -> None:
    assert imports.of["src/shop/money.py"] == {"src/shop/rates.py"}
    assert imports.of["src/shop/orders.py"] >= {"src/shop/money.py", "src/shop/rates.py"}
    assert "src/shop/rates.py" in imports.of["tests/test_rates.py"]


def test_a_file_that_is_no_python_imports_nothing(imports) -> None:
    assert imports.of["src/shop/broken.py"] == frozenset()


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("shop.money", "src/shop/money.py"),
        ("shop.money.convert", "src/shop/money.py"),
        ("shop", "src/shop/__init__.py"),
        ("json", None),
    ],
)
def test_a_dotted_name_finds_its_file(imports, name, file) -> None:
    assert imports.find(name) == file


def test_what_a_test_reaches_comes_nearest_first(imports) -> None:
    reached = imports.product_of("tests/test_money.py", depth=1)
    assert reached.index("src/shop/money.py") < reached.index("src/shop/rates.py")


@pytest.mark.parametrize(
    ("changed", "tests"),
    [
        (["src/shop/money.py"], None),  # the conftest reaches it through orders
        (["tests/test_money.py"], {"tests/test_money.py"}),
        (["README.md"], None),
        (["tests/conftest.py"], None),
        (["src/shop/broken.py"], set()),
    ],
)
def test_a_change_names_the_tests_it_can_affect(imports, changed, tests) -> None:
    """None stands for the whole suite."""
    assert imports.tests_of(changed) == tests
