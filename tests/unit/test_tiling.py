import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from geodiffrecon.tiling import WindowLattice, crop_of


@given(st.integers(1, 50), st.integers(1, 50), st.integers(5, 20), st.integers(0, 4))
def test_windows_cover_the_grid_and_blend_back_to_what_they_came_from(rows, columns, size, overlap):
    lattice = WindowLattice((rows, columns), size, overlap)
    field = torch.arange(2.0 * rows * columns).view(1, 2, rows, columns) + 1
    back = lattice.blend([crop_of(field, window) for window in lattice.windows])
    torch.testing.assert_close(back, field)


@pytest.mark.parametrize("factor", [2, 3])
def test_fine_windows_follow_the_coarse_ones(factor):
    lattice = WindowLattice((20, 9), 8, 3)
    field = torch.randn(2, 1, 20 * factor, 9 * factor)
    back = lattice.map(lambda window: crop_of(field, window, factor), factor)
    torch.testing.assert_close(back, field)


def test_a_grid_no_larger_than_a_window_is_one_window():
    assert WindowLattice((8, 8), 16, 4).windows == [(slice(0, 8), slice(0, 8))]
