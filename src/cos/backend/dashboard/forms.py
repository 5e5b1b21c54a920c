"""What a person fills in, checked as the API checks the same."""

from __future__ import annotations

from typing import Any, TypeVar

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.requests import Request

Model = TypeVar("Model", bound=BaseModel)


async def filled(request: Request, model: type[Model], *, blank: str | None = None) -> Model:
    """Read a form into the model that the API takes; a field left empty counts as not given.

    Args:
        request: with the form.
        model: of the API.
        blank: the one field that may be given as empty text.

    Raises:
        RequestValidationError: shown in the same words as the API's.
    """
    form = await request.form()
    given = {
        name: value
        for name, value in form.items()
        if name in model.model_fields and (value != "" or name == blank)
    }
    return checked(model, given)


def checked(model: type[Model], given: dict[str, Any]) -> Model:
    """Check what was given as the API checks it; raises RequestValidationError."""
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from None
