"""Files of stations behind ``fit``, ``reconstruct`` and ``evaluate``: reading and learning."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ..errors import InvalidParameter, MissingColumn, MissingCRS
from ..files.kinds import holds_points
from ..rows import RowChoice
from .gridding import grid_of
from .inputs import external_features
from .reading import Reading

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import xarray as xr

    from ..grid import NestedGrid
    from ..points import PointColumns, PointTable
    from ..scaling import Kind
    from ..stations.model import StationDiffRecon
    from ..stations.network import StationNetwork
    from ..stations.quality import Finding
    from ..stations.survey import Negative
    from .running import Session

FEW_CELLS = 0.2  # share of fine cells below which those ever observed are taken as stations
FINDINGS_SHOWN = 12
TABLES = {".csv", ".tsv", ".txt", ".dat", ".parquet", ".geoparquet", ".pq"}


@dataclass(frozen=True)
class Recipe:
    """What a model is fitted with, besides its data; as the options of ``fit``."""

    kind: Any
    until: str | None
    external: list[Path] | None
    country: str | None
    preset: str
    max_minutes: float | None
    seed: int
    device: str
    pretrain: Path | None = None
    variable: str | None = None
    negative: Negative = "keep"
    maps: Reading = field(default_factory=Reading)  # how the maps of --pretrain are read


@dataclass(frozen=True)
class GridChoice:
    """The grid as the options of ``fit`` and ``bin`` name it."""

    bounds: tuple[float, float, float, float] | None
    shape: tuple[int, int] | None
    resolution: float | None
    like: Path | None
    factor: int
    grid_crs: str | None


@dataclass(frozen=True)
class Sampling:
    """Step, zone and meaning of the time stamps of a stations file."""

    freq: str | None
    calendar_tz: str | None
    label: str


def fit_points(
    run: Session,
    path: Path,
    columns: PointColumns,
    sampling: Sampling,
    chosen: GridChoice,
    recipe: Recipe,
) -> tuple[StationDiffRecon, list[Finding]]:
    """Return the model of a stations file, and what was found in the file."""
    from ..stations.model import StationDiffRecon

    if sampling.freq is None:
        raise InvalidParameter(
            f"{path.name} holds points: give their time step with --freq, such as --freq 1h."
        )
    estimator = StationDiffRecon(preset=recipe.preset, seed=recipe.seed, device=recipe.device)
    say_device(estimator, run.log)
    table = columns.read(path)
    for note in table.notes:
        run.log(note)
    grid = grid_of(
        table.crs, chosen.bounds, chosen.shape, chosen.resolution, chosen.like, chosen.factor,
        chosen.grid_crs,
    )  # fmt: skip
    zone = _zone(sampling, table, grid, run.log)
    findings = inspected(
        run.log,
        table,
        grid,
        sampling.freq,
        zone,
        sampling.label,
        columns.coverage,
        kind=recipe.kind,
        negative=recipe.negative,
    )
    _fit(run, estimator, table, grid, sampling.freq, zone, recipe, columns.value,
         columns=columns, label=sampling.label)  # fmt: skip
    return estimator, findings


def say_device(model: StationDiffRecon, log: Callable[[str], None]) -> None:
    """Say that a GPU that is asked for is not used.

    Raises
    ------
    InvalidParameter
        If there is none.
    """
    from ..device import torch_device

    torch_device(model.device)
    if model.device == "cuda":
        log("The networks of a station model are small and run on the processor, not on cuda.")


def few_cells(cube: xr.Dataset) -> bool:
    """Tell whether a fine history of means holds so few cells that they are as good as stations."""
    from ..cube import observed

    return str(cube.attrs["aggregation"]) == "mean" and (
        float(observed(cube).any(axis=0).mean()) < FEW_CELLS
    )


def fit_cells(run: Session, cube: xr.Dataset, recipe: Recipe) -> StationDiffRecon:
    """Return the model of a fine history with few observed cells, each taken as a station."""
    from ..grid import NestedGrid
    from ..stations.model import StationDiffRecon
    from ..stations.network import StationNetwork

    network, grid = StationNetwork.of_cube(cube), NestedGrid.of(cube)
    rows, cols = grid.fine_shape
    run.log(
        f"{len(network.names)} of {rows * cols} fine cells were ever observed; each is taken as "
        "a station at its centre."
    )
    estimator = StationDiffRecon(preset=recipe.preset, seed=recipe.seed, device=recipe.device)
    say_device(estimator, run.log)
    _fit(run, estimator, network, grid, network.freq, network.calendar_tz, recipe, network.value)
    return estimator


def inspected(
    log: Callable[[str], None],
    table: PointTable,
    grid: NestedGrid,
    freq: str,
    calendar_tz: str,
    label: str,
    coverage: float,
    *,
    kind: Kind | None = None,
    negative: Negative = "keep",
) -> list[Finding]:
    """Return what is suspicious in a stations file, and log the first of it."""
    from ..stations.quality import inspect

    findings = inspect(
        table, grid, freq=freq, calendar_tz=calendar_tz, label=label,  # type: ignore[arg-type]
        coverage=coverage, kind=kind, negative=negative,
    )  # fmt: skip
    if not findings:
        log("Data quality: nothing stands out.")
    shown = _telling(findings)
    for finding in shown:
        log(f"Data quality: {finding.sentence} [{finding.action}]")
    if len(findings) > len(shown):
        log(f"Data quality: {len(findings) - len(shown)} more findings are not shown.")
    return findings


def _telling(findings: Sequence[Finding]) -> list[Finding]:
    """Return a few findings: of each check the largest first, in the order of the checks."""
    rank: Counter[str] = Counter()
    ranked = []
    for index in sorted(range(len(findings)), key=lambda index: -findings[index].count):
        rank[findings[index].check] += 1
        ranked.append((rank[findings[index].check], -findings[index].count, index))
    chosen = sorted(index for _, _, index in sorted(ranked)[:FINDINGS_SHOWN])
    return [findings[index] for index in chosen]


def write_findings(path: Path, findings: Sequence[Finding]) -> None:
    """Write all findings as JSON."""
    from ..report import write_texts
    from ..stations.quality import to_rows

    text = json.dumps(to_rows(findings), indent=1, ensure_ascii=False)
    write_texts([(path, text + "\n")])


def columns_of(model: StationDiffRecon, **given: Any) -> PointColumns:
    """Return the columns that `model` was fitted with, and what is `given` in their place."""
    from ..points import PointColumns

    usual = model.columns or PointColumns(model.value)
    known = {name: value for name, value in given.items() if value is not None}
    asked = {name: value for name, value in vars(known.pop("choice", RowChoice())).items() if value}
    return replace(usual, **known, choice=replace(usual.choice, **asked))


def read_stations(
    path: Path, model: StationDiffRecon, columns: PointColumns, log: Callable[[str], None]
) -> PointTable:
    """Return the rows of a stations file, whose value is called as that of `model`."""

    def read(crs: str | None) -> PointTable:
        return columns.read(path, crs=crs, **place)

    plain = bool({suffix.lower() for suffix in path.suffixes[-2:]} & TABLES)
    place = {} if plain else {"x": None, "y": None}
    try:
        # A file with a geometry knows its CRS better than the model, whose file may be a CSV.
        table = read(columns.crs if plain else None)
    except MissingCRS:
        if plain or columns.crs is None:
            raise
        table = read(columns.crs)
    for note in table.notes:
        log(note)
    return replace(table, value_name=model.value)


def read_cells(path: Path, model: StationDiffRecon, variable: str, run: Session) -> StationNetwork:
    """Return the observed cells of a fine cube on the grid of `model` as stations.

    Raises
    ------
    InvalidParameter
        If the cube is a coarse one.
    """
    from ..history import open_cube
    from ..stations.network import StationNetwork
    from .inputs import open_on_grid

    def read(crs: str | None) -> xr.Dataset:
        def named(name: str | None) -> xr.Dataset:
            return open_cube(
                path, variable=name, grid=model.grid, crs=crs, freq=model.freq, aggregation="mean",
                calendar_tz=model.calendar_tz, progress=run.progress,
            )  # fmt: skip

        try:
            return named(variable)
        except MissingColumn:
            if variable != model.value:
                raise
            return named(None)

    gridded: Any = model  # only its grid is read
    cube = open_on_grid(read, gridded, None)
    if cube.attrs["level"] != "fine":
        raise InvalidParameter(
            f"{path.name} is a coarse cube, but {model.value} has a model of stations, which reads "
            "points or fine cells; give the points, or a model fitted to fine maps."
        )
    return replace(StationNetwork.of_cube(cube), value=model.value)


def check_points(columns: dict[str, Any], aggregation: str) -> None:
    """Refuse what does not fit a file of stations."""
    if aggregation == "sum":
        raise InvalidParameter(
            "A station's reading is a mean, so --aggregation sum does not fit points; use "
            "--aggregation mean, or bin the points and fit maps."
        )
    if columns["value"] is None:
        raise InvalidParameter("Stations need a value column; name it with --value.")


def _zone(
    sampling: Sampling, table: PointTable, grid: NestedGrid, log: Callable[[str], None]
) -> str:
    from ..periods import calendar_zone
    from ..zones import remarks

    zone = sampling.calendar_tz
    if zone is None:
        zone, told = calendar_zone(table.clock, grid.bounds, grid.crs)
        log(told)
    for note in remarks(zone):
        log(note)
    return zone


def _fit(
    run: Session,
    estimator: StationDiffRecon,
    points: Any,
    grid: NestedGrid,
    freq: str,
    zone: str,
    recipe: Recipe,
    value: str,
    **more: Any,
) -> None:
    """Fit to a table or a network of stations."""
    estimator.fit(
        points, grid, freq=freq, calendar_tz=zone, kind=recipe.kind, negative=recipe.negative,
        until=recipe.until,
        external=external_features(recipe.external, zone, run.log), country=recipe.country,
        pretrain=_pretraining(run, grid, zone, recipe, value), max_minutes=recipe.max_minutes,
        progress=run.progress, log=run.log, **more,
    )  # fmt: skip


def _pretraining(
    run: Session, grid: NestedGrid, zone: str, recipe: Recipe, value: str
) -> xr.Dataset | None:
    """Return the complete history to learn from first, if there is one."""
    from ..history import open_history

    path = recipe.pretrain
    if path is None:
        return None
    if holds_points(path):
        raise InvalidParameter(
            f"--pretrain {path.name} holds points; give complete fine maps (NetCDF or GeoTIFF)."
        )

    def read(name: str | None) -> xr.Dataset:
        return open_history(
            path, variable=name, grid=grid, calendar_tz=zone, aggregation="mean",
            crs=None if grid.crs is not None else "none", progress=run.progress,
            **recipe.maps.opening(),
        )  # fmt: skip

    try:
        cube = read(recipe.variable or value)
    except MissingColumn:
        if recipe.variable is not None:
            raise
        cube = read(None)
    for note in cube.attrs.get("notes", []):
        run.log(note)
    return cube
