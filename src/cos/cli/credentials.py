"""The token that the command line sends: from `COS_TOKEN`, or from a file that only this account can read."""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cos.errors import BadSetting
from cos.infra.folder import DataFolder

if TYPE_CHECKING:
    from cos.config import Settings

FILE = "token"
_MOST_BYTES = 4096
#: This machine, spelled in the ways that cannot be read as another.
_OWN = re.compile(r"(?:localhost|127\.0\.0\.1|\[::1\])(?::[0-9]{1,5})?", re.ASCII | re.IGNORECASE)


def token_for(settings: Settings, url: str, *, own: bool) -> str | None:
    """Give the token to send, None when there is none.

    One from the data folder goes to the COS of that folder alone. One that is given in the settings goes where it is
    sent, but never unencrypted to another machine.

    Args:
        settings: name the token or its file.
        url: of the API.
        own: whether that is the COS of the data folder.

    Raises:
        BadSetting: the file can be read by others or not by us, what is given cannot be a token, or it would travel
            unencrypted.
    """
    given = (
        None
        if settings.token is None
        else _checked(settings.token.get_secret_value(), "The setting COS_TOKEN")
    )
    if given is None and settings.token_file is not None:
        given = _read(settings.token_file.expanduser(), must=True)
    if given is None:
        return _read(_file(settings), must=False) if own else None
    if not own and not _is_safe(url):
        raise BadSetting(f"The token is not sent to {url}, where it could be read on the way; use https.")
    return given


def keep(settings: Settings, token: str) -> Path:
    """Write the token into its file (0600), in place of what is there; gives the path."""
    path = settings.token_file.expanduser() if settings.token_file is not None else _file(settings)
    new = path.with_name(path.name + ".new")
    try:
        new.unlink(missing_ok=True)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(token + "\n")
        new.replace(path)
    except OSError as error:
        with suppress(OSError):  # no secret stays where nobody looks for it
            new.unlink(missing_ok=True)
        raise BadSetting(f"The token cannot be kept in {path}: {_said(error)}.") from None
    return path


def _file(settings: Settings) -> Path:
    return DataFolder.find(settings.data_dir).path / FILE


def _read(path: Path, *, must: bool) -> str | None:
    try:
        # Without waiting: what stands there may be no file, and a pipe would never be opened.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            mode = os.fstat(descriptor).st_mode
            text = os.read(descriptor, _MOST_BYTES + 1) if stat.S_ISREG(mode) else None
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        if must:
            raise BadSetting(f"There is no token file {path} (COS_TOKEN_FILE).") from None
        return None
    except OSError as error:
        raise BadSetting(f"The token file {path} cannot be read: {_said(error)}.") from None
    if text is None:
        raise BadSetting(f"The token file {path} is no file.")
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise BadSetting(f"Others can read the token file {path}: run chmod 600 on it.")
    return _checked(text.decode("latin-1"), f"The token file {path}")


def _checked(text: str, where: str) -> str | None:
    """Give what can be sent as a header, None for nothing; never quotes it."""
    text = text.strip()
    if len(text) > _MOST_BYTES or not all("!" <= character <= "~" for character in text):
        raise BadSetting(f"{where} holds no token.")
    return text or None


def _is_safe(url: str) -> bool:
    """Say whether nobody on the way can read what is sent there."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and _OWN.fullmatch(parts.netloc) is not None)


def _said(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
