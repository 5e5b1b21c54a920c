"""What a COS process is made of besides its servers; apart, so that it is loaded while those start."""

from cos.backend.app import create_app, with_edge
from cos.migrations.apply import migrate
from cos.runtime.connection import ConnectionLimits
from cos.runtime.core import Core
from cos.runtime.highways import found
from cos.runtime.mender import Mender
from cos.runtime.modules import found as found_modules
from cos.runtime.server import ApiServer
from cos.runtime.tokens import check_open

__all__ = [
    "ApiServer",
    "ConnectionLimits",
    "Core",
    "Mender",
    "check_open",
    "create_app",
    "found",
    "found_modules",
    "migrate",
    "with_edge",
]
