"""What validation measures: errors of cells and of draws that hang together."""

import numpy as np
import pytest

from geodiffrecon.evidence import patch_crps
from geodiffrecon.metrics import fair_crps


def fields(rng, *shape):
    """Return smooth fields (..., 16, 16) of unit variance: one value per 4 x 4 patch."""
    return rng.standard_normal((*shape, 4, 4)).repeat(4, -1).repeat(4, -2)


def test_patches_tell_draws_that_hang_together_from_white_ones():
    rng = np.random.default_rng(0)
    truth, smooth = fields(rng, 60), fields(rng, 12, 60)
    white = rng.standard_normal(smooth.shape)
    cells = fair_crps(truth, smooth).mean(), fair_crps(truth, white).mean()
    assert cells[0] == pytest.approx(cells[1], rel=0.03)  # cell by cell they look the same
    assert patch_crps(truth, smooth).mean() < 0.95 * patch_crps(truth, white).mean()


def test_patches_of_single_cells_are_the_crps():
    rng = np.random.default_rng(1)
    truth, draws = rng.standard_normal((5, 3, 3)), rng.standard_normal((4, 5, 3, 3))
    assert patch_crps(truth, draws) == pytest.approx(fair_crps(truth, draws).mean((1, 2)))
