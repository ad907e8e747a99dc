"""What one daily run keeps for the next: recent readings, each with the run that brought it."""

from __future__ import annotations

import json
import re
import tempfile
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InvalidParameter, UnreadableFile
from ..outputs import file_name, whole_files
from ..steps import TimeStep
from .places import Places
from .records import Records
from .sites import SAME_PLACE_KM

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from ..grid import NestedGrid
    from .network import StationNetwork

SCHEMA = 1
KEPT = np.timedelta64(400, "D")  # runs that ended longer before the newest one are forgotten
PLACE_OF_A_MOVED_STATION = re.compile(r"#\d+'*$")


@dataclass(frozen=True)
class Owner:
    """What a state belongs to: it serves no other model.

    Parameters
    ----------
    value, freq, calendar_tz : str
        Of the model.
    grid : NestedGrid
        Its grid.
    model_hash : str
        Its identity.
    """

    value: str
    freq: str
    calendar_tz: str
    grid: NestedGrid
    model_hash: str

    def to_dict(self) -> dict[str, Any]:
        """Return the owner as JSON types."""
        plain = {key: getattr(self, key) for key in self.__dataclass_fields__}
        return {**plain, "grid": self.grid.to_dict()}

    @property
    def step(self) -> TimeStep:
        """The time step."""
        return TimeStep.parse(self.freq, tz=self.calendar_tz)


@dataclass(frozen=True, eq=False)
class StationState:
    """Readings of earlier runs, from which a run takes the history that its file lacks.

    Every reading carries the last mapped step of the run that brought it, and a run reads only
    what runs brought that ended before its own last step. What a day is mapped from so depends
    on the files of that day and of earlier days, never on the order or number of the runs.

    Parameters
    ----------
    owner : Owner
        The model that it serves.
    names : tuple of str, (S,)
        Stations.
    x, y : float64, (S,)
        Positions in the grid's CRS.
    records : Records
        Sorted by run, time and station.
    """

    owner: Owner
    names: tuple[str, ...] = ()
    x: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    y: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    records: Records = field(default_factory=Records.none)

    @classmethod
    def open(cls, folder: Path, owner: Owner) -> StationState:
        """Return the state in `folder`, an empty one where there is none.

        Raises
        ------
        InvalidParameter
            If it belongs to another model, or the folder cannot be written to.
        UnreadableFile
            If it is damaged.
        """
        _check_writable(folder)
        head = folder / f"{file_name(owner.value)}.json"
        if not head.exists():
            return cls(owner)
        try:
            about = json.loads(head.read_text(encoding="utf-8"))
            _check_owner(about, owner, folder)
            stations = about["stations"]
            records = Records.read(folder / about["readings"])
            names = tuple(str(station[0]) for station in stations)
            x, y = (np.array([float(s[k]) for s in stations]) for k in (1, 2))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UnreadableFile(
                f"The state in {folder} is damaged ({_line(error)}); remove it and give a file "
                "that holds the history as well."
            ) from error
        return cls(owner, names, x, y, records)

    def joined(
        self, network: StationNetwork, first: int, last: int, history: int
    ) -> StationNetwork:
        """Return `network` from the history of step `first` to step `last`, as far as known.

        A value of `network` always wins; where it has none, the newest run that ended before
        step `last` fills it. Stations that say nothing are left out.

        Parameters
        ----------
        network : StationNetwork
            The file of this run.
        first, last : int
            Numbers (`TimeStep.number`) of the first and last step to be mapped.
        history : int
            Steps before `first` that are wanted; the network begins at the first that has a
            value, and at `first` where none has.
        """
        mapped, first = first, first - history
        step = self.owner.step
        numbers = step.number(self.records.time)
        until = step.start(np.array([last]))[0]
        known = self.records.where(
            (self.records.run < until) & (numbers >= first) & (numbers <= last)
        )
        present = np.unique(known.station)
        home, names, x, y = self._homes(network, present)
        values = np.full((last - first + 1, len(names)), np.nan)
        # Later runs come later, and of two values for one place numpy keeps the last.
        values[step.number(known.time) - first, home[np.searchsorted(present, known.station)]] = (
            known.value
        )
        rows = step.number(network.times) - first
        inside = (rows >= 0) & (rows < len(values))
        own = np.flatnonzero(np.isfinite(network.values) & inside[:, None])
        row, column = np.unravel_index(own, network.values.shape)
        values[rows[row], column] = network.values[row, column]
        times = step.start(np.arange(first, last + 1))
        heard = np.flatnonzero(np.isfinite(values).any(axis=1))
        begin = min(mapped - first, int(heard[0]) if len(heard) else mapped - first)
        full = replace(
            network, names=names, x=x, y=y, times=times[begin:], values=values[begin:]
        )  # fmt: skip
        return _tidy(full)

    def with_run(self, network: StationNetwork, last: int, history: int) -> StationState:
        """Return the state after a run that mapped up to step `last` from the file `network`.

        Parameters
        ----------
        network : StationNetwork
            What the file of the run holds, without what came from this state.
        last : int
            Number of the last mapped step.
        history : int
            Steps that a later run may need.
        """
        step = self.owner.step
        numbers = step.number(network.times)
        row, column = np.nonzero(
            np.isfinite(network.values)
            & ((numbers > last - history) & (numbers <= last))[:, None]
        )  # fmt: skip
        run = step.start(np.array([last]))[0]
        every = np.arange(len(self.names), dtype=np.int32)
        home, names, x, y = self._homes(network, every)
        old = self.records
        newest = max(run, old.run.max(initial=run))
        old = old.where((old.run != run) & (old.run >= newest - KEPT))
        merged = Records(
            np.concatenate([old.run, np.full(len(row), run)]),
            np.concatenate([old.time, network.times[row]]),
            np.concatenate([home[old.station], column]).astype(np.int32),
            np.concatenate([old.value, network.values[row, column]]),
        )
        order = np.lexsort((merged.station, merged.time, merged.run))
        return StationState(self.owner, names, x, y, merged.taken(order))._without_strangers()

    def write(self, folder: Path) -> None:
        """Write the state; until its last file is in place the former state holds.

        Raises
        ------
        InvalidParameter
            If the folder cannot be written to.
        """
        stem = file_name(self.owner.value)
        name = f"{stem}-{self.records.digest()}.nc"
        stations = [[n, float(a), float(b)] for n, a, b in zip(self.names, self.x, self.y,
                                                               strict=True)]  # fmt: skip
        about = {**self.owner.to_dict(), "schema": SCHEMA, "readings": name, "stations": stations}
        text = json.dumps(about, indent=1, sort_keys=True, ensure_ascii=False)
        _check_writable(folder)
        with whole_files(folder) as draft:
            self.records.write(draft / name)
        with whole_files(folder) as draft:
            (draft / f"{stem}.json").write_text(text + "\n", encoding="utf-8")
        for path in _former(folder, stem):
            if path.name != name:
                path.unlink()

    def _homes(
        self, network: StationNetwork, present: NDArray[np.int32]
    ) -> tuple[NDArray[np.int64], tuple[str, ...], NDArray[np.float64], NDArray[np.float64]]:
        """Return the column of each `present` station, and the stations of network and state."""
        names, x, y = list(network.names), list(network.x), list(network.y)
        places = Places.of(self.owner.grid)
        theirs = places.km(network.x, network.y) if len(network.names) else np.empty((0, 2))
        ours = places.km(self.x, self.y) if len(self.names) else np.empty((0, 2))
        called: dict[str, list[int]] = {}
        for column, name in enumerate(network.names):
            called.setdefault(_plain(name), []).append(column)
        home = np.empty(len(present), dtype=np.int64)
        for index, station in enumerate(present):
            name = self.names[station]
            near = [
                column for column in called.get(_plain(name), [])
                if np.hypot(*(theirs[column] - ours[station])) <= SAME_PLACE_KM
                and (name == _plain(name) or network.names[column] in (name, _plain(name)))
            ]  # fmt: skip
            if near:
                home[index] = min(near, key=lambda column: network.names[column] != name)
                continue
            home[index] = len(names)
            names.append(_free(name, names))
            x.append(self.x[station])
            y.append(self.y[station])
        return home, tuple(names), np.array(x, dtype=np.float64), np.array(y, dtype=np.float64)

    def _without_strangers(self) -> StationState:
        """Return the state with only the stations that have readings, in order of their names."""
        present = np.unique(self.records.station)
        order = sorted(present, key=lambda i: (self.names[i], self.x[i], self.y[i]))
        number = np.zeros(len(self.names), dtype=np.int32)
        number[order] = np.arange(len(order), dtype=np.int32)
        records = replace(self.records, station=number[self.records.station])
        names = tuple(self.names[i] for i in order)
        chosen = np.array(order, dtype=np.int64)
        return replace(self, names=names, x=self.x[chosen], y=self.y[chosen], records=records)


def _check_owner(about: dict[str, Any], owner: Owner, folder: Path) -> None:
    if about.get("schema") != SCHEMA:
        raise InvalidParameter(
            f"The state in {folder} has schema {about.get('schema')!r}, this version reads "
            f"{SCHEMA}; give another --state."
        )
    for key, own in owner.to_dict().items():
        if about.get(key) != own:
            what = {"grid": "grid", "model_hash": "model"}.get(key, key)
            raise InvalidParameter(
                f"The state in {folder} belongs to another {what} ({about.get(key)}, not {own}); "
                "give this model a folder of its own with --state."
            )


def _check_writable(folder: Path) -> None:
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            return
    except OSError as error:
        raise InvalidParameter(
            f"--state {folder} cannot be written to ({error.strerror}); choose another folder."
        ) from error


def _former(folder: Path, stem: str) -> Iterator[Path]:
    shape = re.compile(rf"{re.escape(stem)}-[0-9a-f]{{12}}\.nc")
    return (path for path in sorted(folder.iterdir()) if shape.fullmatch(path.name))


def _tidy(network: StationNetwork) -> StationNetwork:
    """Return the network without stations that say nothing, sorted by name and position."""
    seen = np.isfinite(network.values)
    if not seen.any():
        return network
    order = sorted(
        np.flatnonzero(seen.any(axis=0)),
        key=lambda i: (network.names[i], network.x[i], network.y[i]),
    )
    chosen = np.array(order, dtype=np.int64)
    return replace(
        network,
        names=tuple(network.names[i] for i in order),
        x=network.x[chosen],
        y=network.y[chosen],
        values=network.values[:, chosen],
    )


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def _plain(name: str) -> str:
    return PLACE_OF_A_MOVED_STATION.sub("", name)


def _free(name: str, taken: list[str]) -> str:
    """Return `name`, numbered where another station of that name stands elsewhere."""
    plain, number, found = _plain(name), 1, name
    while found in taken:
        number += 1
        found = f"{plain}#{number}"
    return found
