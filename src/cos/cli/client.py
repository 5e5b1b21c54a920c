"""The CLI's way to the API of a running COS."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

# httpx would load its own command line, and a terminal's worth of modules with it; None says: there is none.
sys.modules.setdefault("httpx._main", cast("Any", None))
import httpx  # noqa: E402  (after the line above)

from cos.cli.credentials import token_for  # noqa: E402  (after the line above)
from cos.errors import BadSetting, CosError, NotRunning, Unauthorized, Unavailable  # noqa: E402
from cos.infra.folder import DataFolder  # noqa: E402

if TYPE_CHECKING:
    from cos.config import Settings

CONNECT_TIMEOUT_SECONDS = 5.0
TIMEOUT_SECONDS = 60.0


class Refused(CosError):
    """The API refused."""

    exit_code = 3


@contextmanager
def api(settings: Settings, url: str | None) -> Iterator[httpx.Client]:
    """Open a client to the API at `url`, or of the COS in the data folder.

    Raises:
        NotRunning: there is no COS to talk to.
        Unavailable: the connection was lost.
    """
    base = url or _address(settings)
    timeout = httpx.Timeout(TIMEOUT_SECONDS, connect=CONNECT_TIMEOUT_SECONDS)
    try:
        # trust_env: a proxy from the environment has no business between us and loopback.
        token = token_for(settings, base, own=url is None)
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        with httpx.Client(base_url=base, timeout=timeout, trust_env=False, headers=headers) as client:
            yield client
    except (httpx.InvalidURL, httpx.UnsupportedProtocol):
        raise BadSetting(
            f"The address {base!r} is not one of an API; it looks like http://127.0.0.1:8000."
        ) from None
    except httpx.ConnectError:
        raise NotRunning(f"No COS answers at {base}; start it with: cos up") from None
    except httpx.HTTPError as error:
        said = str(error) or type(error).__name__
        raise Unavailable(f"The connection to COS at {base} was lost: {said}.") from None


def answer(response: httpx.Response) -> Any:
    """Give the JSON of a good answer.

    Raises:
        Unavailable: COS cannot do it at the moment.
        Refused: with the problem's sentence, for any other answer.
    """
    if response.is_success:
        return response.json()
    try:
        detail = response.json()["detail"]
    except (ValueError, KeyError, TypeError):
        detail = f"the API answered {response.status_code}"
    if response.status_code == HTTPStatus.SERVICE_UNAVAILABLE:
        raise Unavailable(str(detail))
    if response.status_code == HTTPStatus.UNAUTHORIZED:
        raise Unauthorized(f"{detail}, and give it to this command in COS_TOKEN or with --save")
    raise Refused(str(detail))


def _address(settings: Settings) -> str:
    run = DataFolder.find(settings.data_dir).read_run()
    if run is None:
        raise NotRunning(f"COS is not running in {settings.data_dir}; start it with: cos up")
    return str(run["api"]["url"])
