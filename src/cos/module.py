"""All that a package which adds a module to COS imports: see docs/modules.md. These names stay."""

from cos.backend.auth.needs import needs
from cos.backend.cc.logging import log_l1
from cos.backend.cc.schemas import Text
from cos.backend.deps import BoundedRoute, Services, ServicesDep, transaction
from cos.backend.module import Context, Module
from cos.backend.problems import problems
from cos.common import clock, ids
from cos.common.health import Part, Source, State
from cos.errors import BadInput, Conflict, CosError, Forbidden, NotFound, TooLarge, Unavailable
from cos.memory.delivery import Event
from cos.memory.highway import Highway

__all__ = [
    "BadInput",
    "BoundedRoute",
    "Conflict",
    "Context",
    "CosError",
    "Event",
    "Forbidden",
    "Highway",
    "Module",
    "NotFound",
    "Part",
    "Services",
    "ServicesDep",
    "Source",
    "State",
    "Text",
    "TooLarge",
    "Unavailable",
    "clock",
    "ids",
    "log_l1",
    "needs",
    "problems",
    "transaction",
]
