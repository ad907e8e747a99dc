"""Figures that the DiffRecon paper prints, to stand beside one's own (arXiv 2410.05323).

Tables II (fixed and random missing cells) and III (the lower right quarter missing), and the
losses of the ablations that its section V-C states in numbers. MAE and RMSE are over fine cells
in raw units, one run each without an error bar. Eleven pairs of table III are left out, because
their columns could not be told with certainty.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .errors import InvalidParameter

METHODS = (
    "SRCNN", "SRResNet", "UrbanFM", "FODE", "STCF", "UrbanSTA", "DiffUFlow", "DiffRecon",
)  # fmt: skip
DATASETS = ("TaxiBJ", "BikeNYC", "TAPBJ")
ALIASES = {"taxibj": "TaxiBJ", "bikenyc": "BikeNYC", "citibike": "BikeNYC"} | dict.fromkeys(
    ("tapbj", "tap"), "TAPBJ"
)

Pair = tuple[float, float]


@dataclass(frozen=True)
class Figure:
    """One MAE and RMSE of the paper.

    Parameters
    ----------
    dataset, method : str
        As the paper names them.
    pattern : {"fixed", "random", "block"}
        Which coarse cells are missing: the same in all frames, others in each, or the lower
        right quarter.
    missing : float
        Share of coarse cells missing.
    mae, rmse : float
        Over fine cells, in raw units.
    table : str
        Number of the table.
    """

    dataset: str
    method: str
    pattern: str
    missing: float
    mae: float
    rmse: float
    table: str


@dataclass(frozen=True)
class Ablation:
    """By how much the paper says that a variant is worse than DiffRecon (negative: better).

    Parameters
    ----------
    variant : str
        As the paper names it.
    dataset, pattern : str
        As in `Figure`; the pattern is empty where the paper does not say.
    missing : float
        Share of coarse cells missing.
    loss_percent : float
        Loss of accuracy in per cent; the paper does not say of which score.
    """

    variant: str
    dataset: str
    pattern: str
    missing: float
    loss_percent: float


# Columns are METHODS; each row is the MAE, then the RMSE.
TABLE_II: dict[tuple[str, str, float], tuple[tuple[float, ...], tuple[float, ...]]] = {
    ("TaxiBJ", "fixed", 0.2): (
        (32.92, 33.90, 28.19, 35.71, 32.73, 27.52, 27.89, 23.42),
        (52.40, 52.25, 48.97, 52.46, 58.43, 42.24, 42.64, 36.71),
    ),
    ("TaxiBJ", "fixed", 0.4): (
        (44.81, 43.72, 38.97, 44.78, 48.57, 30.40, 31.13, 24.72),
        (69.64, 62.80, 65.31, 68.48, 77.96, 48.16, 47.94, 39.70),
    ),
    ("TaxiBJ", "fixed", 0.6): (
        (52.54, 54.20, 53.54, 62.53, 66.12, 31.52, 33.98, 26.12),
        (77.97, 83.58, 82.71, 86.90, 102.56, 52.80, 54.39, 42.49),
    ),
    ("TaxiBJ", "fixed", 0.8): (
        (68.81, 69.84, 76.97, 73.89, 84.00, 34.40, 38.70, 27.83),
        (94.96, 95.66, 108.46, 106.35, 118.01, 58.08, 62.87, 45.36),
    ),
    ("TaxiBJ", "random", 0.2): (
        (35.68, 38.08, 33.76, 42.08, 29.83, 60.00, 29.61, 24.22),
        (58.56, 60.16, 58.40, 64.96, 52.00, 98.24, 45.12, 38.39),
    ),
    ("TaxiBJ", "random", 0.4): (
        (48.32, 51.04, 47.04, 54.72, 42.70, 91.52, 32.93, 27.08),
        (75.36, 77.44, 74.24, 82.56, 70.00, 129.92, 51.43, 41.66),
    ),
    ("TaxiBJ", "random", 0.6): (
        (64.07, 65.76, 62.08, 69.44, 58.89, 120.80, 34.17, 30.06),
        (93.30, 95.04, 91.36, 100.16, 88.77, 156.48, 54.60, 49.81),
    ),
    ("TaxiBJ", "random", 0.8): (
        (88.48, 91.04, 88.00, 92.64, 84.70, 138.08, 38.55, 35.97),
        (120.48, 123.68, 121.28, 127.52, 118.20, 172.16, 61.64, 60.48),
    ),
    ("BikeNYC", "fixed", 0.2): (
        (0.47, 0.44, 0.34, 0.32, 0.28, 0.32, 0.29, 0.30),
        (1.08, 1.04, 1.23, 1.09, 1.10, 1.17, 0.89, 0.90),
    ),
    ("BikeNYC", "fixed", 0.4): (
        (0.48, 0.48, 0.44, 0.36, 0.38, 0.36, 0.32, 0.34),
        (1.12, 1.11, 1.48, 1.18, 1.44, 1.23, 1.02, 0.97),
    ),
    ("BikeNYC", "fixed", 0.6): (
        (0.62, 0.54, 0.43, 0.43, 0.44, 0.40, 0.33, 0.28),
        (1.33, 1.19, 1.42, 1.49, 1.67, 1.47, 1.07, 1.05),
    ),
    ("BikeNYC", "fixed", 0.8): (
        (0.74, 0.62, 0.50, 0.48, 0.48, 0.42, 0.38, 0.36),
        (1.57, 1.39, 1.81, 1.68, 1.68, 1.55, 1.16, 1.20),
    ),
    ("BikeNYC", "random", 0.2): (
        (0.47, 0.55, 0.37, 0.32, 0.28, 0.47, 0.30, 0.28),
        (1.18, 1.27, 1.32, 1.14, 1.04, 1.32, 0.91, 0.94),
    ),
    ("BikeNYC", "random", 0.4): (
        (0.52, 0.51, 0.39, 0.38, 0.34, 0.63, 0.35, 0.27),
        (1.31, 1.27, 1.36, 1.33, 1.22, 1.52, 1.05, 1.00),
    ),
    ("BikeNYC", "random", 0.6): (
        (0.61, 0.68, 0.45, 0.45, 0.41, 0.75, 0.37, 0.31),
        (1.46, 1.71, 1.55, 1.52, 1.41, 1.65, 1.12, 1.11),
    ),
    ("BikeNYC", "random", 0.8): (
        (0.79, 0.69, 0.52, 0.52, 0.49, 0.79, 0.46, 0.33),
        (1.83, 2.05, 1.75, 1.73, 1.63, 1.80, 1.59, 1.23),
    ),
    ("TAPBJ", "fixed", 0.2): (
        (2.77, 2.86, 2.57, 3.27, 2.87, 3.04, 2.74, 1.77),
        (4.69, 4.91, 4.44, 5.55, 5.73, 4.93, 4.33, 3.00),
    ),
    ("TAPBJ", "fixed", 0.4): (
        (3.93, 3.65, 4.02, 4.24, 3.67, 4.50, 3.41, 2.14),
        (7.22, 6.53, 8.59, 7.63, 6.91, 6.57, 5.32, 3.52),
    ),
    ("TAPBJ", "fixed", 0.6): (
        (5.20, 4.89, 5.32, 5.48, 4.98, 9.27, 4.64, 3.02),
        (9.44, 8.65, 10.13, 10.01, 9.13, 14.92, 6.99, 5.10),
    ),
    ("TAPBJ", "fixed", 0.8): (
        (7.87, 8.92, 8.82, 9.03, 9.86, 9.63, 6.11, 4.29),
        (13.91, 16.26, 15.84, 16.27, 18.94, 15.19, 9.19, 6.77),
    ),
    ("TAPBJ", "random", 0.2): (
        (2.83, 2.89, 2.69, 3.19, 2.33, 3.98, 2.98, 1.99),
        (4.82, 4.90, 4.64, 5.35, 4.29, 7.69, 4.75, 3.43),
    ),
    ("TAPBJ", "random", 0.4): (
        (5.32, 3.66, 3.51, 3.93, 3.34, 4.74, 3.71, 2.68),
        (8.31, 6.43, 6.21, 6.80, 6.16, 9.05, 5.88, 4.60),
    ),
    ("TAPBJ", "random", 0.6): (
        (5.22, 5.14, 5.05, 5.37, 4.96, 5.47, 4.72, 3.90),
        (9.36, 9.35, 9.40, 9.48, 9.28, 10.92, 7.23, 8.04),
    ),
    ("TAPBJ", "random", 0.8): (
        (8.70, 8.84, 8.78, 9.09, 8.97, 9.28, 6.20, 5.97),
        (15.71, 16.24, 16.00, 16.79, 16.60, 18.25, 9.23, 9.46),
    ),
}
BLOCK = 0.25  # of the coarse cells, the lower right quarter
TABLE_III: dict[str, dict[str, Pair]] = {
    "TaxiBJ": dict(
        zip(
            METHODS,
            zip(
                (57.38, 58.81, 53.96, 61.58, 52.32, 28.96, 31.64, 23.98),
                (97.79, 98.66, 95.83, 100.30, 95.30, 47.20, 48.45, 37.54),
                strict=True,
            ),
            strict=True,
        )
    ),
    "BikeNYC": {"UrbanSTA": (0.32, 1.12), "DiffUFlow": (0.29, 0.96), "DiffRecon": (0.27, 0.98)},
    "TAPBJ": {"DiffUFlow": (4.27, 8.53), "DiffRecon": (2.96, 6.00)},
}

ABLATIONS = (
    Ablation("DiffRecon-noJoint", "TaxiBJ", "fixed", 0.2, 14.08),
    Ablation("DiffRecon-noJoint", "TaxiBJ", "fixed", 0.4, 17.61),
    Ablation("DiffRecon-noJoint", "TaxiBJ", "fixed", 0.6, 16.12),
    Ablation("DiffRecon-noJoint", "TaxiBJ", "fixed", 0.8, 13.40),
    Ablation("DiffRecon-noJoint", "TAPBJ", "fixed", 0.2, 4.32),
    Ablation("DiffRecon-noJoint", "TAPBJ", "fixed", 0.4, 2.84),
    Ablation("DiffRecon-noJoint", "TAPBJ", "fixed", 0.6, 2.94),
    Ablation("DiffRecon-noJoint", "TAPBJ", "fixed", 0.8, 1.33),
    Ablation("DiffRecon-noSTPointFormer", "TaxiBJ", "", 0.2, 2.37),
    Ablation("DiffRecon-noSTPointFormer", "TaxiBJ", "", 0.8, 8.16),
    Ablation("DiffC-STCF", "TaxiBJ", "fixed", 0.2, -2.45),
    Ablation("DiffC-STCF", "TaxiBJ", "fixed", 0.6, 4.2),
    Ablation("DiffC-STCF", "TaxiBJ", "fixed", 0.8, 17.17),
)
"""Section V-C; the paper calls the ratios of noJoint sense ratios, elsewhere missing ratios."""


def dataset_name(name: str) -> str:
    """Return the paper's name of a data set; ``citibike`` and ``tap`` are known too.

    Raises
    ------
    InvalidParameter
        If it is none of the three.

    Examples
    --------
    >>> dataset_name("citibike")
    'BikeNYC'
    """
    if name.lower() not in ALIASES:
        raise InvalidParameter(
            f"Data set {name!r} is not in the paper; use one of {', '.join(DATASETS)}."
        )
    return ALIASES[name.lower()]


def rows(dataset: str) -> tuple[Figure, ...]:
    """Return all figures of a data set, pattern by pattern, in the paper's order of methods.

    Raises
    ------
    InvalidParameter
        If the paper has no such data set.
    """
    name = dataset_name(dataset)
    usual = tuple(
        Figure(name, method, pattern, missing, mae, rmse, "II")
        for (where, pattern, missing), pair in TABLE_II.items()
        if where == name
        for method, mae, rmse in zip(METHODS, *pair, strict=True)
    )
    block = tuple(
        Figure(name, method, "block", BLOCK, *pair, "III")
        for method, pair in TABLE_III[name].items()
    )
    return (*usual, *block)


def paper_figure(dataset: str, method: str, pattern: str, missing: float) -> Pair | None:
    """Return MAE and RMSE that the paper prints, or None where it prints none.

    Parameters
    ----------
    dataset, method : str
        In any case.
    pattern : {"fixed", "random", "block"}
        As in `Figure`.
    missing : float
        Share of coarse cells missing; 0.25 for ``block``.

    Raises
    ------
    InvalidParameter
        If the paper has no such data set.

    Examples
    --------
    >>> paper_figure("taxibj", "DiffRecon", "fixed", 0.4)
    (24.72, 39.7)
    >>> paper_figure("taxibj", "DiffRecon", "fixed", 0.95) is None
    True
    """
    for row in rows(dataset):
        same = row.pattern == pattern and abs(row.missing - missing) < 1e-6
        if same and row.method.lower() == method.lower():
            return row.mae, row.rmse
    return None


def score_rows(dataset: str) -> list[dict[str, Any]]:
    """Return the paper's figures of a data set as rows of a comparison, to stand beside one's own.

    Raises
    ------
    InvalidParameter
        If the paper has no data set of that name.
    """
    return [
        {"method": f"paper:{figure.method}", "label": f"{figure.method} (as printed)",
         "role": "published", "seed": 0, "pattern": figure.pattern, "missing": figure.missing,
         "mae": figure.mae, "rmse": figure.rmse}
        for figure in rows(dataset)
    ]  # fmt: skip
