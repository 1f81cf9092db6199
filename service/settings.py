"""Settings, from the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from msgspec import Struct

DATABASE_URL: Final = "LOYALTY_DATABASE_URL"
DATA_DIRECTORY: Final = "LOYALTY_DATA_DIR"
PROGRAMME: Final = "LOYALTY_PROGRAMME"
DATA_DIRECTORY_DEFAULT: Final = "loyalty-data"


class Settings(Struct, frozen=True, kw_only=True):
    """What the environment says; an empty variable counts as unset.

    `database_url` (LOYALTY_DATABASE_URL): the PostgreSQL server; None means an embedded one in `data_directory`
    (LOYALTY_DATA_DIR, default ./loyalty-data). `programme` (LOYALTY_PROGRAMME): for commands and messages that name
    none; "" if unset.
    """

    database_url: str | None
    data_directory: Path
    programme: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """The settings as the environment has them now."""
        return cls(
            database_url=environment.get(DATABASE_URL) or None,
            data_directory=Path(environment.get(DATA_DIRECTORY) or DATA_DIRECTORY_DEFAULT).expanduser(),
            programme=environment.get(PROGRAMME) or "",
        )
