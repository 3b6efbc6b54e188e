"""Running exported models: numpy, Pillow and ONNX Runtime only, never PyTorch."""
