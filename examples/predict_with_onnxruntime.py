"""Use an exported model without this package: onnxruntime, Pillow and numpy are enough.

`python predict_with_onnxruntime.py model.onnx image.png`
"""

import json
import sys

import numpy as np
import onnxruntime as ort
from PIL import Image, ImageOps

if len(sys.argv) < 3:
    print(__doc__, file=sys.stderr)
    sys.exit(2)
session = ort.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
manifest = json.loads(session.get_modelmeta().custom_metadata_map["alexnet.manifest"])

side, crop = manifest["input"]["image_size_px"], manifest["input"]["crop_size_px"]
if manifest["deployment"]["num_views"] > 1:
    crop = side  # the file takes the whole square and cuts its views itself
image = Image.open(sys.argv[2])
image.draft(None, (2 * side, 2 * side))  # shrinks a large JPEG as it is decoded, as in training
image = ImageOps.exif_transpose(image)
if image.mode.startswith("I;16"):  # grey of 16 bits
    image = Image.fromarray(np.rint(np.asarray(image) / 257).astype(np.uint8))
if image.has_transparency_data:
    white = Image.new("RGBA", image.size, "white")
    image = Image.alpha_composite(white, image.convert("RGBA"))
image = image.convert("RGB")
short = min(image.size)
left, top = (image.width - short) // 2, (image.height - short) // 2
square = image.crop((left, top, left + short, top + short)).resize((side, side), Image.BILINEAR)
margin = (side - crop) // 2
pixels = np.asarray(square)[margin : margin + crop, margin : margin + crop]

(probabilities,) = session.run(["probabilities"], {"images": pixels[None]})
best = int(probabilities[0].argmax())
print(
    json.dumps({"class": manifest["classes"][best], "probability": float(probabilities[0][best])})
)
