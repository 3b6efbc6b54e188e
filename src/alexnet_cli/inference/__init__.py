"""Running exported models: numpy, Pillow and ONNX Runtime only, never PyTorch."""

import os

# From 1.27 on, ONNX Runtime's official builds for Linux and macOS report use to their maker over
# the network unless this is set before they are imported. Set it to 0 to allow that.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
