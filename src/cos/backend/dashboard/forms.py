"""What a person fills in, checked as the API checks the same."""

from __future__ import annotations

from typing import TypeVar

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.requests import Request

Model = TypeVar("Model", bound=BaseModel)


async def filled(request: Request, model: type[Model]) -> Model:
    """Read a form into the model that the API takes; a field left empty counts as not given.

    Raises:
        RequestValidationError: shown in the same words as the API's.
    """
    form = await request.form()
    given = {name: value for name, value in form.items() if name in model.model_fields and value != ""}
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from None
