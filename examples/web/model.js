// An exported model: the manifest in its own bytes, and a session of ONNX Runtime Web.
// ONNX Runtime Web has no call for a model's metadata (its issue 16547), so it is read here.

const SCHEMAS = [6]; // of src/alexnet_cli/manifest.py
const METADATA_PROPS = 14; // of ModelProto in onnx.proto
const NOT_ONNX = "it is cut short, or no ONNX file";

/** Fetch a model and make it ready to run on "wasm" or "webgpu", that one and no other. */
export async function loadModel(path, device) {
  const bytes = await fetchBytes(path);
  const manifest = readManifest(bytes, path);
  const ort = await importRuntime(device);
  const options = { executionProviders: [device], logSeverityLevel: 3 };
  let session;
  try {
    session = await ort.InferenceSession.create(bytes, options);
  } catch (error) {
    throw new Error(`ONNX Runtime cannot load ${path} on ${device}: ${error.message}. It has to be ` +
      "one whole file: “alexnet export --format onnx”, without --shared-weights.");
  }
  const { crop_size_px: crop, image_size_px: image } = manifest.input;
  const side = manifest.deployment.num_views === 1 ? crop : image; // a file makes its own views
  return {
    manifest,
    side,
    /** Return the probability of each class for the bytes of one square. */
    async classify(pixels) {
      const images = new ort.Tensor("uint8", pixels, [1, side, side, 3]);
      const { probabilities } = await session.run({ images }, ["probabilities"]);
      return Array.from(probabilities.data, (p, i) => ({ name: manifest.classes[i], p }));
    },
    release: () => session.release(),
  };
}

async function fetchBytes(path) {
  const response = await fetch(path, { cache: "no-cache" }).catch(() => {
    throw new Error("The server does not answer. Is it still running?");
  });
  if (response.status === 404) {
    throw new Error(`There is no ${path} in the folder of this page. “alexnet export --format onnx” writes ` +
      "one and prints its path: copy it here, then load the page again.");
  }
  if (!response.ok) throw new Error(`The server refused ${path}: HTTP ${response.status}.`);
  return new Uint8Array(await response.arrayBuffer());
}

async function importRuntime(device) {
  try {
    return await import(`./node_modules/onnxruntime-web/dist/ort.${device}.bundle.min.mjs`);
  } catch {
    throw new Error("ONNX Runtime Web is not there. Run “npm install” in this folder, then load " +
      "the page again.");
  }
}

function readManifest(bytes, path) {
  try {
    for (const [number, entry] of fields(bytes)) {
      if (number !== METADATA_PROPS) continue;
      const { 1: key, 2: value } = Object.fromEntries(fields(entry)); // StringStringEntryProto
      if (new TextDecoder().decode(key) !== "alexnet.manifest") continue;
      const manifest = JSON.parse(new TextDecoder().decode(value));
      if (SCHEMAS.includes(manifest.schema)) return manifest;
      throw new Error(`its manifest has schema ${manifest.schema}, this page reads ${SCHEMAS.join(" and ")}`);
    }
    throw new Error("it has no manifest");
  } catch (error) {
    throw new Error(`${path} is not a model that this page can use: ${error.message}. ` +
      "“alexnet export --format onnx” writes one.");
  }
}

/** Yield number and content of each field of a protobuf message that has bytes for content. */
function* fields(bytes) {
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let factor = 1; at < bytes.length; factor *= 128) {
      const byte = bytes[at++];
      value += (byte & 127) * factor;
      if (byte < 128) return value;
    }
    throw new Error(NOT_ONNX);
  };
  while (at < bytes.length) {
    const key = varint();
    const kind = key % 8;
    if (![0, 1, 2, 5].includes(kind)) throw new Error(NOT_ONNX);
    const length = kind === 2 ? varint() : { 0: 0, 1: 8, 5: 4 }[kind];
    if (kind === 0) varint();
    if (at + length > bytes.length) throw new Error(NOT_ONNX);
    if (kind === 2) yield [Math.floor(key / 8), bytes.subarray(at, at + length)];
    at += length;
  }
}
