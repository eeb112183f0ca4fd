"""The settings as fields by key, for loading, printing and the documentation."""

from typing import Any, Final, get_args

from msgspec import Struct
from msgspec.structs import fields as fields_of

from marketd.config.settings import Settings


class Field(Struct, frozen=True):
    """One setting, as loading, printing and the documentation see it."""

    section: str
    name: str
    type: Any
    default: Any
    description: str
    secret: bool

    @property
    def key(self) -> str:
        """Its key: `http.port`."""
        return f"{self.section}.{self.name}"

    @property
    def variable(self) -> str:
        """Its environment variable: `MARKETD_HTTP__PORT`."""
        return f"MARKETD_{self.section}__{self.name}".upper()


class Loaded(Struct, frozen=True):
    """The settings in force, and for each key where its value came from."""

    settings: Settings
    sources: dict[str, str]


def fields(settings: type[Struct]) -> dict[str, Field]:
    """Find every field of every section, by key, in the order in which they are written."""
    found = [
        Field(
            section.name,
            field.name,
            field.type,
            field.default,
            meta.description,
            bool((meta.extra or {}).get("secret")),
        )
        for section in fields_of(settings)
        for field in fields_of(section.type)
        for meta in get_args(field.type)[-1:]
    ]
    return {field.key: field for field in found}


SECTIONS: Final = tuple(section.name for section in fields_of(Settings))
FIELDS: Final = fields(Settings)
