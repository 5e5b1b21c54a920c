"""How a process finds the highways that it runs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from cos.config import load_settings
from cos.errors import BadSetting
from cos.runtime import highways

MODULE = """
from cos.memory.highway import Highway
highway = Highway()
other = Highway()
text = "no highway"
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "my_subscribers.py").write_text(MODULE)
    (tmp_path / "broken_subscribers.py").write_text("import no_such_module_at_all")
    for name in ("my_subscribers", "broken_subscribers"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


class TestFound:
    def test_what_the_setting_names_once_each(self, here) -> None:
        """`highway` where no attribute is named; also from the working directory."""
        given = load_settings(subscribers="my_subscribers, my_subscribers:highway ,my_subscribers:other")
        module_highways = highways.found(given)
        module = sys.modules.pop("my_subscribers")
        assert module_highways == [module.highway, module.other]

    def test_none_by_default(self) -> None:
        assert highways.found(load_settings()) == []

    @pytest.mark.parametrize(
        ("name", "said"),
        [
            ("no_such_module_here", "no_such_module_here"),
            ("broken_subscribers", "no_such_module_at_all"),
            ("my_subscribers:none", "none"),
            ("my_subscribers:text", "are str"),
        ],
    )
    def test_what_cannot_be_loaded_is_named(self, here, name, said) -> None:
        with pytest.raises(BadSetting, match=said):
            highways.found(load_settings(subscribers=name))
        sys.modules.pop("my_subscribers", None)
