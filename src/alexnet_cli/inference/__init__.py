"""Running exported models: numpy, Pillow and ONNX Runtime only, never PyTorch.

`from alexnet_cli.inference import Classifier` is the interface for other programs. Importing this
package imports none of those libraries before one of its names is used.
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alexnet_cli.inference.classify import Classifier, ClassProbability, Prediction

__all__ = ["ClassProbability", "Classifier", "Prediction"]

# From 1.27 on, ONNX Runtime's official builds for Linux and macOS report use to their maker over
# the network unless this is set before they are imported. Set it to 0 to allow that.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.classify"), name)
