"""The shape of the package: who imports whom, how long modules are, what a plain import loads."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import geodiffrecon

PACKAGE = Path(geodiffrecon.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

# A module imports only from its left.
ORDER = """
    errors local words limits progress field memory allocator device calendar zones columns stamps
    where
    geometries delimited vectors frames tables rows steps axes files grid points periods cube
    binning history covariates trips published features scaling windows noise priors
    calibration metrics gate fields standings paper_tables consistency
    schedule diffusion samplers networks tiling series units presets architecture stages training
    core conditioning assembly chance reconstruction evidence rehearsal residuals
    summary variable outputs lesson fitting archive store forecast tasks scores model stations
    loading
    rivals validation contenders journal comparison
    cf geotiff atmosphere synthetic
    sampling picture marks charts surfaces report
    interpolation
    comparison_tables pages comparison_report episode station_charts station_tables station_report
    doctor demo cli
""".split()
# What trains on a machine that has only torch and numpy, from an array file.
TORCH_CORE = ["scaling", *ORDER[ORDER.index("schedule") : ORDER.index("training") + 1]]
BARE = {"torch", "numpy", "safetensors"} | sys.stdlib_module_names
OUTSIDE_THE_ORDER = {"__init__", "__main__", "_version"}
MAY_PRINT = {"progress", "cli"}
MAX_LINES = 600


def group_of(path):
    """Name in ORDER of the module or of the subpackage around it."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(path):
    """Yield (top-level name, group inside the package or None) of each import in a module."""
    here = ["geodiffrecon", *path.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) + 1 - node.level] if node.level else []
            base = [*base, *(node.module or "").split(".")] if node.module else base
            stem = ".".join(base)
            names = [stem] if len(base) > 1 or base[0] != "geodiffrecon" else []
            names += [f"{stem}.{alias.name}" for alias in node.names if not names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            own = parts[0] == "geodiffrecon" and len(parts) > 1
            yield parts[0], parts[1] if own else None


def named(paths):
    return [pytest.param(p, id=str(p.relative_to(PACKAGE))) for p in paths]


@pytest.mark.parametrize("path", named(MODULES))
def test_a_module_is_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES


@pytest.mark.parametrize("path", named(p for p in MODULES if group_of(p) not in OUTSIDE_THE_ORDER))
def test_a_module_imports_only_from_its_left(path):
    group = group_of(path)
    assert group in ORDER, f"add {group} to ORDER where it belongs"
    for _, other in imports_of(path):
        if other not in (None, group, "__version__", "_version"):
            assert ORDER.index(other) < ORDER.index(group), f"{group} imports {other}"


@pytest.mark.parametrize("path", named(p for p in MODULES if group_of(p) in TORCH_CORE))
def test_the_torch_core_needs_nothing_beyond_torch_and_numpy(path):
    for top, other in imports_of(path):
        if other is None:
            assert top in BARE | {"geodiffrecon"}
        else:
            assert other in {"errors", "progress", *TORCH_CORE}


@pytest.mark.parametrize("path", named(p for p in MODULES if group_of(p) not in MAY_PRINT))
def test_the_library_never_prints(path):
    calls = (n for n in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(n, ast.Call))
    assert not any(isinstance(c.func, ast.Name) and c.func.id == "print" for c in calls)


@pytest.mark.parametrize("path", named(MODULES))
def test_nothing_is_pickled(path):
    assert not {"pickle", "cloudpickle", "dill"} & {top for top, _ in imports_of(path)}


@pytest.mark.parametrize("module", ["geodiffrecon", "geodiffrecon.cli"])
def test_a_plain_import_is_light(module):
    heavy = "{'torch', 'rasterio', 'osgeo', 'geopandas', 'rioxarray', 'xarray'}"
    code = f"import sys, {module}; print(sorted({heavy} & sys.modules.keys()))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
