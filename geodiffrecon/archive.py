"""The model directory: config.json and a file of weights, whole at any moment, read without code.

`config.json` names the file of weights, and that name is the hash of both. A new model is its new
weights, then a new `config.json` in one step, then the old weights go: whoever reads meets the old
model or the new one, and a run that is killed leaves one of them.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import GeoDiffReconError, IncompatibleModel

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    Arrays = dict[str, NDArray[Any]]

SCHEMA = 3
CONFIG = "config.json"
WEIGHTS = re.compile(r"model-([0-9a-f]{16})\.safetensors")
OWN = re.compile(rf"{CONFIG}|{WEIGHTS.pattern}|\.partial-\w+|\.DS_Store|Thumbs\.db|desktop\.ini")
TRIES = 3  # of reading, where a model is replaced meanwhile
LARGEST_CONFIG = 64_000_000  # bytes
DEEPEST = 16
# The largest numbers of settings and networks: what no model has is not built.
LIMITS = {
    "completion": 64, "refinement": 64, "members": 64, "variants": 1000, "blocks": 16, "layers": 16,
    "widths": 512, "d": 512, "window": 1024, "levels": 100_000, "steps": 1_000_000,
}  # fmt: skip
LIMIT = 1_000_000


def model_hash(config: Mapping[str, Any], arrays: Arrays) -> str:
    """Return the hash that results carry: of everything that decides them."""
    digest = hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode())
    for name in sorted(arrays):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()[:16]


def write(path: str | Path, config: Mapping[str, Any], arrays: Arrays) -> None:
    """Write a model directory; a link to one is followed.

    Raises
    ------
    IncompatibleModel
        If `path` exists and is no directory, or one that holds anything but a model.
    """
    from safetensors.numpy import save

    target = Path(path).resolve()
    check_target(target)
    name = f"model-{model_hash(config, arrays)}.safetensors"
    # not save_file, whose files only their owner can read
    weights = save({key: np.ascontiguousarray(array) for key, array in arrays.items()})
    told = {"schema": SCHEMA, "weights": name, **config}
    text = json.dumps(told, indent=1, sort_keys=True) + "\n"
    if target.exists():
        _replace(target / name, weights)
        _replace(target / CONFIG, text.encode())
        _tidy(target, name)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        _replace(staging / name, weights)
        _replace(staging / CONFIG, text.encode())
        staging.chmod(0o755)
        os.replace(staging, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def check_target(path: str | Path) -> None:
    """Refuse a place for a model that holds anything else; asked before a training.

    Raises
    ------
    IncompatibleModel
        If it is no directory, or holds other files.
    """
    target = Path(path).resolve()
    if not target.exists():
        return
    if not target.is_dir():
        raise IncompatibleModel(f"{target} is a file; give a directory for the model.")
    foreign = sorted(part.name for part in target.iterdir() if not OWN.fullmatch(part.name))
    if foreign:
        more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        raise IncompatibleModel(
            f"{target} holds {foreign[0]}{more}, which is no part of a model; give a directory of "
            "its own for the model."
        )


def read(path: str | Path) -> tuple[dict[str, Any], Arrays]:
    """Read a model directory; nothing in it is ever executed.

    Raises
    ------
    IncompatibleModel
        If it is missing, damaged, or of a schema that this version does not know.
    """
    source = Path(path)
    if not (source / CONFIG).is_file():
        raise IncompatibleModel(
            f"{source} is not a model directory: it has no {CONFIG}. Make one with "
            "geodiffrecon fit."
        )
    for left in reversed(range(TRIES)):
        try:
            return _read(source)
        except FileNotFoundError as error:  # the weights went between two looks
            if not left:
                name = Path(error.filename).name
                raise _damaged(source, f"its weights {name} are missing") from error
    raise AssertionError


@contextmanager
def sound(path: str | Path) -> Iterator[None]:
    """Turn what a model of wrong content does to its reader into a sentence.

    Raises
    ------
    IncompatibleModel
        For any error of building the model.
    """
    try:
        yield
    except IncompatibleModel:
        raise
    except (GeoDiffReconError, ArithmeticError, LookupError, TypeError, ValueError,
            AttributeError, RuntimeError, MemoryError) as error:  # fmt: skip
        first = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise _damaged(Path(path), first) from error


def _read(source: Path) -> tuple[dict[str, Any], Arrays]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        size = (source / CONFIG).stat().st_size
        if size > LARGEST_CONFIG:
            raise _damaged(source, f"its {CONFIG} has {size:,} bytes")
        config = json.loads((source / CONFIG).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise _damaged(source, str(error)) from error
    if not isinstance(config, dict):
        raise _damaged(source, f"its {CONFIG} holds no settings")
    schema = config.pop("schema", None)
    if schema != SCHEMA:
        raise IncompatibleModel(
            f"The model in {source} has schema {str(schema)[:20]!r}, this version reads "
            f"schema {SCHEMA}; fit it again or use the version that wrote it."
        )
    named = WEIGHTS.fullmatch(str(config.pop("weights", "")))
    if named is None:
        raise _damaged(source, f"its {CONFIG} names no weights")
    _check(source, config)
    try:
        arrays = load((source / named.group()).read_bytes())
    except (ValueError, SafetensorError) as error:
        raise _damaged(source, str(error)) from error
    if model_hash(config, arrays) != named.group(1):
        raise _damaged(source, f"{CONFIG} and weights do not belong together")
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise _damaged(source, f"{name[:80]} holds values that are no numbers")
    return config, arrays


def _check(source: Path, config: dict[str, Any]) -> None:
    """Refuse settings that no model has, before anything is built of them."""

    def look(value: Any, key: str, depth: int, limited: bool) -> None:
        if depth > DEEPEST:
            raise _damaged(source, f"its {CONFIG} is nested too deep")
        if isinstance(value, dict):
            for name, part in value.items():
                look(part, name, depth + 1, limited or name in ("settings", "networks"))
        elif isinstance(value, list):
            for part in value:
                look(part, key, depth + 1, limited)
        elif isinstance(value, float) and not math.isfinite(value):
            raise _damaged(source, f"{key} is {value}")
        elif limited and isinstance(value, int) and not 0 <= value <= LIMITS.get(key, LIMIT):
            raise _damaged(source, f"{key} is {value}")

    look(config, CONFIG, 0, limited=False)


def _damaged(source: Path, why: str) -> IncompatibleModel:
    return IncompatibleModel(
        f"The model in {source} is damaged ({why}); fit it again or restore it."
    )


def _replace(target: Path, content: bytes) -> None:
    """Write a file so that it is the old one or the new one, also after a power cut."""
    handle, name = tempfile.mkstemp(prefix=".partial-", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _tidy(target: Path, kept: str) -> None:
    """Remove weights that no config names any more, and what killed runs left."""
    for part in target.iterdir():
        old = WEIGHTS.fullmatch(part.name) and part.name != kept
        if old or part.name.startswith(".partial-"):
            part.unlink(missing_ok=True)
