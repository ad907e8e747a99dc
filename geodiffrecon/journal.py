"""What a long comparison has done so far, on disk, so that a killed one goes on where it was."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .errors import InvalidParameter
from .outputs import whole_files

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

TERMS = "terms.json"


@dataclass(frozen=True)
class Journal:
    """A folder of finished trainings and finished rows.

    Several runs may fill one journal at once, as long as they do different methods.

    Parameters
    ----------
    folder : Path
        Made when the first thing is kept.
    """

    folder: Path

    def agree(self, terms: Mapping[str, Any]) -> None:
        """Keep the terms of the comparison, or check that they are those it began with.

        Raises
        ------
        InvalidParameter
            If the journal was begun with other terms: rows would not be comparable.
        """
        text = json.dumps(terms, indent=1, sort_keys=True)
        path = self.folder / TERMS
        if not path.exists():
            self._write(self.folder, TERMS, text)
            return
        begun = json.loads(path.read_text())
        for name, value in json.loads(text).items():
            if begun.get(name) != value:
                raise InvalidParameter(
                    f"{self.folder} holds a comparison with {name} {begun.get(name)!r}, not "
                    f"{value!r}; finish that one, remove the folder, or give another --json."
                )

    def training(self, key: str) -> Path:
        """Return the folder of one training."""
        return self.folder / "trainings" / key

    def trained(self, key: str) -> bool:
        """Return whether a training is finished."""
        return (self.training(key) / "about.json").is_file()

    def about(self, key: str) -> dict[str, Any]:
        """Return what a finished training was."""
        found: dict[str, Any] = json.loads((self.training(key) / "about.json").read_text())
        return found

    def row(self, key: str) -> dict[str, Any] | None:
        """Return a finished row, None if there is none."""
        path = self.folder / "rows" / f"{key}.json"
        if not path.is_file():
            return None
        found: dict[str, Any] = json.loads(path.read_text())
        return found

    def keep(self, key: str, row: Mapping[str, Any]) -> None:
        """Keep a finished row, whole or not at all."""
        self._write(self.folder / "rows", f"{key}.json", json.dumps(row, sort_keys=True))

    def rows(self) -> list[dict[str, Any]]:
        """Return all finished rows, in the order of their names."""
        return [
            json.loads(path.read_text()) for path in sorted((self.folder / "rows").glob("*.json"))
        ]

    @staticmethod
    def _write(folder: Path, name: str, text: str) -> None:
        with whole_files(folder) as draft:
            (draft / name).write_text(text + "\n", encoding="utf-8")
