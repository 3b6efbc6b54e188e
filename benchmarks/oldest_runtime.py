"""Run exported files with the oldest ONNX Runtime that this project promises, 1.20.

`python benchmarks/oldest_runtime.py model.onnx …` in an environment with onnxruntime==1.20.1 and
numpy alone; `nox -s oldest_runtime -- model.onnx …` makes that environment.
"""

import json
import sys

import numpy as np
import onnxruntime as ort


def check(path: str) -> str:
    """Load an ONNX file, run two batch sizes, and describe it on a line."""
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    manifest = json.loads(session.get_modelmeta().custom_metadata_map["alexnet.manifest"])
    (images,) = session.get_inputs()
    side = images.shape[1]
    for batch in (1, 3):
        noise = np.random.default_rng(0).integers(0, 256, (batch, side, side, 3), np.uint8)
        logits, probabilities = session.run(["logits", "probabilities"], {"images": noise})
        if logits.shape != (batch, len(manifest["classes"])):
            raise SystemExit(f"{path}: logits of shape {logits.shape}")
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-3)
    kind = manifest["deployment"]
    return (
        f"{path}: {kind['precision']}, {kind['num_views']} views, opset {kind['opset']}, "
        f"LRN {kind['lrn_form']}: runs with onnxruntime {ort.__version__}"
    )


if __name__ == "__main__":
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    for given in sys.argv[1:]:
        print(check(given))
