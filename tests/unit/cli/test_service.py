"""`cos service systemd`: a unit that systemd would read as it is meant; and the files under deploy."""

from __future__ import annotations

import configparser
import re
import sys
from pathlib import Path

import pytest
import yaml

from cos import errors
from cos.cli.service import _HOPELESS

DEPLOY = Path(__file__).parents[3] / "deploy"


def parsed(text: str) -> configparser.ConfigParser:
    unit = configparser.ConfigParser(strict=True, interpolation=None, delimiters=("=",))
    unit.optionxform = str
    unit.read_string(text)
    return unit


class TestSystemd:
    """The unit."""

    def test_for_oneself(self, cos, alone) -> None:
        """This interpreter, this folder, a reload by SIGHUP, and no restart where it cannot help."""
        ran = cos("service", "systemd")
        unit = parsed(ran.out)
        assert ran.code == 0
        assert unit["Service"]["ExecStart"] == f"{sys.executable} -m cos.cli.main up --data-dir {alone}"
        assert unit["Service"]["ExecReload"].endswith("-HUP $MAINPID")
        assert unit["Install"]["WantedBy"] == "default.target"
        assert "User" not in unit["Service"]
        assert "systemctl --user enable" in ran.out or "systemctl --user daemon-reload" in ran.out

    def test_for_the_machine(self, cos) -> None:
        unit = parsed(cos("service", "systemd", "--account", "author").out)
        assert (unit["Service"]["User"], unit["Install"]["WantedBy"]) == ("author", "multi-user.target")

    @pytest.mark.parametrize(
        ("name", "written"), [("a b", '/a b"'), ("50%", "/50%%"), ("a$b", "/a$$b"), ('q"q', '/q\\"q"')]
    )
    def test_odd_folders(self, cos, tmp_path, name, written) -> None:
        """Written so that systemd reads the same path again."""
        line = parsed(cos("service", "systemd", "--data-dir", str(tmp_path / name)).out)["Service"][
            "ExecStart"
        ]
        assert line.endswith(written)

    def test_the_codes_are_ours(self) -> None:
        """Each belongs to an error that a restart does not mend, or to wrong usage."""
        known = {
            one.exit_code
            for one in vars(errors).values()
            if isinstance(one, type) and hasattr(one, "exit_code")
        }
        assert set(_HOPELESS) <= known | {2}


class TestDeploy:
    """The image and the services, as far as they can be read without an engine."""

    def test_the_compose_file(self) -> None:
        """Each service that is waited for has a health check, each volume is declared, the image is the one here."""
        found = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
        services = found["services"]
        assert all("healthcheck" in services[name] for name in services["cos"]["depends_on"])
        used = {one.split(":")[0] for service in services.values() for one in service["volumes"]}
        assert used == set(found["volumes"])
        build = services["cos"]["build"]
        assert (DEPLOY / build["context"] / build["dockerfile"]).is_file()
        ports = [one for service in services.values() for one in service.get("ports", ())]
        assert all(port.startswith("127.0.0.1:") for port in ports)

    def test_the_image(self) -> None:
        """What it copies is here, and it does not run as root."""
        lines = (DEPLOY / "Containerfile").read_text().splitlines()
        ours = [line for line in lines if line.startswith("COPY ") and "--from" not in line]
        copied = [name for line in ours for name in line.split()[1:-1]]
        assert copied
        assert [name for name in copied if not (DEPLOY.parent / name).exists()] == []
        assert "USER cos" in lines
        assert re.search(r"^ARG PYTHON=\S+:3\.1[1-9]", "\n".join(lines), re.MULTILINE)
