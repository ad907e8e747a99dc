"""Networks of both stages: one U-Net, two encoders of the history, and the output heads."""

from .completion import Completion, CompletionConfig
from .history import PointFormerConfig, STPointFormer
from .patterns import PatternConfig, TPatternNet
from .refinement import Refinement, RefinementConfig
from .unet import ConditionalUNet, UNetConfig

__all__ = [
    "Completion",
    "CompletionConfig",
    "ConditionalUNet",
    "PatternConfig",
    "PointFormerConfig",
    "Refinement",
    "RefinementConfig",
    "STPointFormer",
    "TPatternNet",
    "UNetConfig",
]
