import json
from dataclasses import replace

import pytest
import torch

from geodiffrecon.architecture import Architecture
from geodiffrecon.errors import InvalidParameter
from geodiffrecon.presets import PRESETS, Settings, preset, without
from geodiffrecon.tiling import WindowLattice


@pytest.mark.parametrize("name", list(PRESETS))
def test_settings_survive_json(name):
    assert Settings.from_dict(json.loads(json.dumps(preset(name).to_dict()))) == preset(name)


def test_unknown_keys_are_errors():
    with pytest.raises(InvalidParameter, match="colour"):
        Settings.from_dict({"colour": 3})


@pytest.mark.parametrize("factor", [2, 3, 4, 8])
@pytest.mark.parametrize("name", list(PRESETS))
def test_every_preset_has_networks_for_every_factor(name, factor):
    lattice = WindowLattice((5, 7))
    sizes = Architecture(preset(name), lattice, factor, 6, 24, 2, 4)
    for noisy in (True, False):
        refinement = sizes.refinement(noisy=noisy).eval()
        x = torch.zeros(1, int(noisy), 5 * factor, 7 * factor)
        coarse, fine = torch.zeros(1, 6, 5, 7), torch.zeros(1, 2, 5 * factor, 7 * factor)
        with torch.no_grad():
            out = refinement(x, torch.ones(1), coarse, fine, torch.zeros(1, 6), None)
        assert out.shape[-2:] == (5 * factor, 7 * factor)


def test_ablations_leave_out_one_part():
    settings = preset("default")
    assert not without(settings, "joint").joint
    bare = without(settings, "point_former")
    assert bare.completion_mean.d == bare.completion_diffusion.d == 0
    assert replace(bare, completion_mean=settings.completion_mean,
                   completion_diffusion=settings.completion_diffusion) == settings  # fmt: skip
    with pytest.raises(InvalidParameter, match="wheels"):
        without(settings, "wheels")
