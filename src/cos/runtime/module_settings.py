"""The settings of a module that a package adds: from variables first, its table in the settings file second."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast

from pydantic import BaseModel, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from cos.config import MODULES, Explained, is_set, settings_file, shown
from cos.errors import BadSetting

if TYPE_CHECKING:
    from pathlib import Path

    from cos.config import Settings

M = TypeVar("M", bound=BaseModel)


def load_module_settings(settings: Settings, module: str, model: type[M]) -> M:
    """Read the settings of a module that a package adds: `COS_MODULE_NAME_FIELD` first, then `[module.NAME]`.

    Raises:
        BadSetting: names the first bad setting, its value and what is allowed.
    """
    prefix, path, table = _module_source(settings, module, model)
    bound = type(
        model.__name__,
        (model, BaseSettings),
        {"model_config": SettingsConfigDict(env_prefix=prefix, extra="ignore", env_ignore_empty=True)},
    )
    try:
        return cast("M", bound(**{name: table[name] for name in table if not is_set(prefix + name.upper())}))
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"])) or "?"
        from_file = name in table and not is_set(prefix + name.upper())
        where = f"{name} of [module.{module}] in {path}" if from_file else prefix + name.upper()
        reason = first["msg"].removeprefix("Value error, ")
        value = "" if first["type"] == "missing" else f"={str(first['input'])[:80]}"
        raise BadSetting(
            f"The setting {where}{value} cannot be used: {reason[:1].lower()}{reason[1:]}."
        ) from None


def explain_module(settings: Settings, module: str, model: type[BaseModel]) -> list[Explained]:
    """Say of each setting of a module what it is and where that came from; raises BadSetting."""
    found = load_module_settings(settings, module, model)
    prefix, path, table = _module_source(settings, module, model)
    rows = []
    for name, field in model.model_fields.items():
        variable = prefix + name.upper()
        origin = "environment" if is_set(variable) else str(path) if name in table else "default"
        value = shown(getattr(found, name))
        rows.append(
            Explained(
                name=name,
                variable=variable,
                value=value,
                origin=origin,
                live=False,
                description=field.description or "",
            )
        )
    return rows


def _module_source(
    settings: Settings, module: str, model: type[BaseModel]
) -> tuple[str, Path | None, dict[str, Any]]:
    """Give the prefix of the variables, and what the settings file says of the module."""
    path, found = settings_file(settings)
    table = found.get(MODULES, {}).get(module, {})
    for name in table:
        if name not in model.model_fields:
            known = ", ".join(model.model_fields)
            raise BadSetting(
                f"The settings file {path} sets {name[:60]!r} of [module.{module}]: none of {known}."
            )
    return f"COS_MODULE_{module.upper()}_", path, table
