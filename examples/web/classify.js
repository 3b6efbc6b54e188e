// The page: an image comes in by drop, choice or paste; its classes go out as words and bars.

import { centre, decode } from "./pixels.js";
import { loadModel } from "./model.js";

const TOP = 5;
const page = Object.fromEntries([...document.querySelectorAll("[id]")].map((e) => [e.id, e]));
const percent = (p) => `${(100 * p).toFixed(1)} %`;
let model; // a promise
let latest; // the file that is shown
let work = Promise.resolve(); // one image after the other

function load() {
  const device = page.device.value;
  const before = model;
  page.status.textContent = "Loading the model …";
  model = loadModel("model.onnx", device).then((loaded) => ({ ...loaded, device }));
  work = work.then(() => before?.then((old) => old.release())).catch(() => {});
  model.then(describe, fail);
}

function describe({ manifest: { network, classes, provenance }, side }) {
  const accuracy = percent(provenance.val_top1);
  page.about.textContent = `${network.name}: ${classes.length} classes, ${side} × ` +
    `${side} pixels, ${accuracy} right on its validation images.`;
  if (!latest) page.status.textContent = "Ready for an image.";
}

function fail(error) {
  page.result.hidden = true;
  page.status.textContent = "";
  page.error.textContent = error.message;
}

function take(file) {
  if (!file) return fail(new Error("That was not a file. Save the image, then drop or choose it."));
  latest = file;
  work = work.then(() => show(file)).catch(fail);
}

async function show(file) {
  if (file !== latest) return;
  page.error.textContent = "";
  page.status.textContent = `Looking at ${file.name} …`;
  const { manifest, side, classify, device } = await model;
  const start = performance.now();
  const bitmap = await decode(file);
  const pixels = centre(bitmap, manifest.input.image_size_px, side);
  bitmap.close();
  const ready = performance.now();
  const classes = (await classify(pixels)).sort((a, b) => b.p - a.p);
  const end = performance.now();
  if (file !== latest) return;
  URL.revokeObjectURL(page.picture.src);
  page.picture.src = URL.createObjectURL(file);
  page.picture.alt = `The chosen image, ${file.name}`;
  draw(pixels, side);
  page.classes.replaceChildren(...classes.slice(0, TOP).map(bar));
  page.status.textContent = `${classes[0].name}, ${percent(classes[0].p)}`;
  page.ran.textContent = `Ran on ${device} in ${(end - ready).toFixed(1)} ms, after ` +
    `${(ready - start).toFixed(1)} ms for decoding and resizing.`;
  page.result.hidden = false;
}

function bar({ name, p }) {
  const item = document.createElement("li");
  const [label, number, track] = ["span", "span", "div"].map((tag) => document.createElement(tag));
  label.textContent = name;
  number.textContent = percent(p);
  number.dataset.p = p;
  track.style.setProperty("--share", `${100 * p}%`);
  track.ariaHidden = "true";
  item.append(label, number, track);
  return item;
}

function draw(pixels, side) {
  const rgba = new Uint8ClampedArray(side * side * 4).fill(255);
  for (let i = 0; i < side * side; i++) rgba.set(pixels.subarray(3 * i, 3 * i + 3), 4 * i);
  page.seen.width = page.seen.height = side;
  page.seen.getContext("2d").putImageData(new ImageData(rgba, side, side), 0, 0);
}

page.file.addEventListener("change", () => {
  if (page.file.files.length) take(page.file.files[0]);
  page.file.value = ""; // so that the same file can be chosen again
});
addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("over");
});
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("over");
});
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("over");
  take(event.dataTransfer.files[0]);
});
addEventListener("paste", (event) => take(event.clipboardData.files[0]));
page.device.addEventListener("change", () => {
  load();
  if (latest) take(latest);
});
navigator.gpu?.requestAdapter().then((adapter) => {
  if (!adapter) return;
  page.webgpu.disabled = false;
  page.webgpu.textContent = "WebGPU (the graphics card)";
});
load();
