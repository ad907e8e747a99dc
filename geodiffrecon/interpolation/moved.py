"""The diffusion core on the maps of a survey: its place between what is known and what is read."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.moving import COUNTED, Moved, Nodes, block_mover, mover
from ..field.blocks import Blocks, block_draws
from ..field.field import Field
from ..noise import NoiseField

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..core.moving import Mover
    from ..field.covariance import Sites
    from .belief import Interpolation

    Array = NDArray[np.float64]

STREAM, STEPS_STREAM, OWN_STREAM = 90, 91, 93  # of the noise of places, steps and readings


class Date:
    """One date of a survey: draws of the belief, and of the core where it has something to say.

    Parameters
    ----------
    made : Interpolation
        What is known.
    date : int
        Which of its dates.
    """

    def __init__(self, made: Interpolation, date: int) -> None:
        self.made, self.date, self.day = made, date, int(made.days[date])
        self.nodes = Nodes.of(made.grid.shape)
        self.field = made.field(date)

    @cached_property
    def core(self) -> Mover | None:
        """What moves the draws; None for many readings, few readings, and a strength of 0."""
        if not isinstance(self.field, Field):
            return None
        if self.made.factor > 1:
            if self.field.raw.error is not None:
                return None
            return block_mover(
                self.field, self._sites, self._blocks, self.made.factor, strength=self.made.core
            )
        return mover(self.field, self._node_sites, self.nodes, strength=self.made.core)

    def moved(self) -> Moved | None:
        """Return draws at the nodes, before and after; None without a core."""
        core, made, field = self.core, self.made, self.field
        if made.factor > 1:
            before, after = self._of_blocks(COUNTED)
            floor = field.choice.transform.floor
            return Moved(before, after, floor, lambda cells: cells[made.inside.ravel()])
        if core is None or core.strength == 0 or not isinstance(field, Field):
            return None
        sites = self._node_sites
        told = field.predict(sites)
        error = field.errors(sites, self._white(COUNTED, self._at_nodes), told)
        after = error + told.shape.width * core.change(error / told.shape.width, self._noise)

        def cells(values: Array) -> Array:
            return np.asarray(self.nodes.spread(values)[made.inside])

        floor = told.transform.floor
        return Moved(told.raw(error), told.raw(after), floor, cells)

    def draws(self, count: int) -> Array:
        """Return joint draws (count, m) of the mapped cells, in raw units."""
        made, core, field = self.made, self.core, self.field
        inside = made.inside.ravel()
        if made.factor > 1:
            return self._of_blocks(count)[1][:, inside]
        if core is not None and isinstance(field, Field):
            told = field.predict(self._sites)
            error = field.errors(self._sites, self._white(count), told)
            width = told.shape.width
            change = core.change(error[:, self._at_nodes] / width, self._noise)
            error += width * self.nodes.spread(change).reshape(error.shape)
            drawn = told.raw(error)[:, inside]
        else:
            drawn = field.draws(self._sites[inside], self._white(count, inside))
        known, seen = made.seen(self.date)
        drawn[:, seen] = known[seen]
        return drawn

    def held(self, mean: Array) -> Array:
        """Return a mean (m,) whose blocks have the readings as theirs, where readings are means."""
        if self.made.factor == 1 or self.made.survey.error is not None:
            return mean
        inside, floor = self.made.inside.ravel(), self.field.choice.transform.floor
        full = np.zeros(inside.size)
        full[inside] = mean
        return np.asarray(self._blocks.fixed(full[None], floor)[0][inside])

    def _of_blocks(self, count: int) -> tuple[Array, Array]:
        """Return joint draws (count, cells) given block means in working units; and the final ones.

        These are moved by the core, and hold the means in raw units.
        """
        assert isinstance(self.field, Field)
        noise = NoiseField(self.made.seed, self.nodes.shape, STREAM)
        rngs = [noise.generator(k, self.day) for k in range(count)]
        told = self.field.predict(self._sites)
        drawn = block_draws(self.field, self._blocks, self._sites, told, rngs)
        errors, width = drawn.held(drawn.errors), told.shape.width
        if self.core is not None:
            change = self.core.change(errors / width, self._noise)
            errors = drawn.held(errors + width * change)
        return told.raw(drawn.errors), drawn.raw(errors)

    @cached_property
    def _blocks(self) -> Blocks:
        """Which cells the readings of the date are means of."""
        made, grid = self.made, self.made.survey.grid
        assert grid is not None
        rows = made.of_date(self.date)
        x, y = made.survey.x[rows], made.survey.y[rows]
        order = np.lexsort((y, x))  # that of the field's readings
        row, col, _ = grid.cell_of(x[order], y[order], level="coarse")
        index = np.full(grid.shape, -1)
        index[row, col] = np.arange(len(rows))
        fine = np.kron(index, np.ones((made.factor, made.factor), np.int64)).ravel()
        readings = made.survey.value[rows][order]
        xy, cols = self._sites.xy, self.nodes.shape[1]
        step = float(xy[cols, 1] - xy[0, 1]), float(xy[1, 0] - xy[0, 0])
        return Blocks(self.nodes.shape, step, fine, readings)

    @cached_property
    def _sites(self) -> Sites:
        """All cells of the grid."""
        made = self.made
        return made.dated_sites(made.frame.sites(*made.all_centres), self.date)

    @cached_property
    def _at_nodes(self) -> NDArray[np.int64]:
        rows, cols = self.nodes.cells
        return (rows[:, None] * self.nodes.shape[1] + cols).ravel()

    @cached_property
    def _node_sites(self) -> Sites:
        return self._sites[self._at_nodes]

    def _white(self, count: int, where: Any = slice(None)) -> Array:
        """Return white noise (count, own + m) of the field's readings and of some cells."""
        noise = NoiseField(self.made.seed, self.made.grid.shape, STREAM)
        own = NoiseField(self.made.seed, (self.field.own,), OWN_STREAM)
        rows = [
            np.append(own(k, self.day), noise(k, self.day).ravel()[where]) for k in range(count)
        ]
        return np.stack(rows).astype(np.float64)

    def _noise(self, draw: int, step: int) -> Array:
        shape = self.nodes.shape if self.made.factor > 1 else self.nodes.count
        noise = NoiseField(self.made.seed, shape, STEPS_STREAM + step)
        return noise(draw, self.day).astype(np.float64)


def moved_how(made: Interpolation) -> str:
    """Return in a sentence how far the core moves the draws of the last date."""
    if made.core == 0:
        return "Diffusion is left out."
    core = Date(made, len(made.days) - 1).core
    if core is None:
        many = not isinstance(made.fields[0], Field)
        why = "so many readings" if many else "so few readings"
        if made.factor > 1 and made.survey.error is not None:
            why = "means of cells with errors"
        return f"Diffusion has nothing to add to {why}."
    return (
        f"Diffusion, taught on simulated fields, moves the draws by {core.strength:.0%} of what "
        "it would; --core 0 leaves it out."
    )
