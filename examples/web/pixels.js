// From an image file to the pixels the network sees: the rule of src/alexnet_cli/image.py.
// The largest central square, resized by Pillow's bilinear filter in Pillow's own integers (a
// canvas would resize with a filter of the browser's choice), then the centre of that.

const BAND_ROWS = 256; // a canvas of a whole photograph is more than some phones allow
const FRACTION_BITS = 22;
const HALF = 1 << (FRACTION_BITS - 1);

/** Decode an image: upright by its EXIF orientation, colours as they are in the file. */
export async function decode(file) {
  const options = { imageOrientation: "from-image", colorSpaceConversion: "none" };
  try {
    return await createImageBitmap(file, options);
  } catch {
    throw new Error(`“${file.name}” is not an image that this browser can read. Try a PNG or a JPEG.`);
  }
}

/** Return the RGB bytes, row by row, of the `cropSize` centre of `bitmap` resized to `imageSize`. */
export function centre(bitmap, imageSize, cropSize) {
  const side = Math.min(bitmap.width, bitmap.height);
  const left = (bitmap.width - side) >> 1;
  const top = (bitmap.height - side) >> 1;
  const canvas = document.createElement("canvas");
  canvas.width = side;
  canvas.height = Math.min(side, BAND_ROWS);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingEnabled = false;
  context.fillStyle = "white"; // what shows through transparency

  const taps = triangle(side, imageSize);
  const narrow = new Uint8Array(side * imageSize * 3);
  for (let row = 0; row < side; row += BAND_ROWS) {
    const rows = Math.min(BAND_ROWS, side - row);
    context.fillRect(0, 0, side, rows);
    context.drawImage(bitmap, left, top + row, side, rows, 0, 0, side, rows);
    const rgba = context.getImageData(0, 0, side, rows).data;
    for (let y = 0; y < rows; y++) {
      for (let x = 0; x < imageSize; x++) {
        const to = ((row + y) * imageSize + x) * 3;
        for (let c = 0; c < 3; c++) narrow[to + c] = weigh(rgba, taps[x], y * side * 4 + c, 4);
      }
    }
  }
  const margin = (imageSize - cropSize) >> 1;
  const pixels = new Uint8Array(cropSize * cropSize * 3);
  for (let y = 0; y < cropSize; y++) {
    for (let i = 0; i < cropSize * 3; i++) {
      pixels[y * cropSize * 3 + i] = weigh(narrow, taps[margin + y], margin * 3 + i, imageSize * 3);
    }
  }
  return pixels;
}

/** Source pixels and weights of each resulting pixel: a triangle, widened when shrinking. */
function triangle(from, to) {
  const scale = from / to;
  const reach = Math.max(scale, 1);
  return Array.from({ length: to }, (_, index) => {
    const middle = (index + 0.5) * scale;
    const first = Math.max(0, Math.trunc(middle - reach + 0.5));
    const end = Math.min(from, Math.trunc(middle + reach + 0.5));
    const heights = Array.from({ length: end - first }, (_, k) =>
      Math.max(0, 1 - Math.abs((first + k - middle + 0.5) * (1 / reach))),
    );
    const sum = heights.reduce((a, b) => a + b);
    const weights = heights.map((height) => Math.trunc(0.5 + (height / sum) * 2 ** FRACTION_BITS));
    return { first, weights: Int32Array.from(weights) };
  });
}

function weigh(bytes, { first, weights }, offset, stride) {
  let sum = HALF;
  for (let k = 0, at = offset + first * stride; k < weights.length; k++, at += stride) {
    sum += bytes[at] * weights[k];
  }
  return sum >> FRACTION_BITS;
}
