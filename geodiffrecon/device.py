"""Where networks run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import InvalidParameter

if TYPE_CHECKING:
    import torch

DEVICES = ("auto", "cpu", "cuda")


def torch_device(asked: str) -> torch.device:
    """Return the device that was asked for.

    Parameters
    ----------
    asked : {"auto", "cpu", "cuda"}
        "auto" takes a GPU where there is one.

    Raises
    ------
    InvalidParameter
        If it is another word, or "cuda" where torch finds no GPU.

    Examples
    --------
    >>> torch_device("cpu")
    device(type='cpu')
    """
    import torch

    if asked not in DEVICES:
        raise InvalidParameter(f"device must be auto, cpu or cuda, not {asked!r}.")
    if asked == "cuda" and not torch.cuda.is_available():
        raise InvalidParameter("device is cuda, but torch finds no GPU; use auto or cpu.")
    gpu = asked != "cpu" and torch.cuda.is_available()
    return torch.device("cuda" if gpu else "cpu")
