"""Images that programs often read differently."""

import numpy as np
from PIL import Image


def write_odd_images(folder):
    """Write eight of them, in all 20 or 30 pixels to a side, and return their paths as text."""
    noise = np.random.default_rng(6).integers(0, 256, (20, 30, 4), np.uint8)
    colour, alpha, grey = noise[..., :3], noise[..., 3], noise[..., 0]
    folder.mkdir(parents=True)
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(colour).save(folder / "turned.png", exif=turned)
    Image.fromarray(colour // 64).save(folder / "turned.jpg", exif=turned, quality=95)
    Image.fromarray(noise).save(folder / "transparent.png")
    Image.fromarray(np.stack([grey, alpha], axis=2)).save(folder / "transparent-grey.png")
    Image.fromarray(colour).quantize(16).save(folder / "palette.png", transparency=3)
    Image.fromarray(grey.astype(np.uint16) * 200).save(folder / "grey-16.png")
    Image.fromarray(colour).convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(grey > 127).save(folder / "bits.tif")
    return sorted(map(str, folder.iterdir()))
