// One picture as large as the window, with the list of its boxes.

import { classOf, drawBoxes, drawLabels, drawnBoxes, drawPicture, element } from "./draw.js";
import * as grid from "./grid.js";
import { keepMiddle, makeDraggable, moveView } from "./pan.js";
import { getJson, info, latestOnly, pictureAddress } from "./server.js";
import { change, query, state } from "./state.js";
import { STATES } from "./states.js";

const ZOOMS = [1, 2, 4];

const dialog = document.getElementById("large");
const stage = document.getElementById("stage");
const list = document.getElementById("boxes");
let zoom = 0; // place in ZOOMS
let shown = null; // what the server said of the picture

export function start() {
  const on = (id, action) => document.getElementById(id).addEventListener("click", action);
  on("back", () => step(-1));
  on("next", () => step(1));
  on("zoom", enlarge);
  on("close", () => dialog.close());
  dialog.addEventListener("close", closed);
  list.addEventListener("focusin", (event) => choose(event.target.closest("li")));
  list.addEventListener("pointerover", (event) => choose(event.target.closest("li")));
  makeDraggable(stage);
  new ResizeObserver(() => dialog.open && show()).observe(dialog);
}

function closed() {
  const id = state.picture;
  if (id !== null) change({ picture: null });
  grid.cardOf(id ?? shown?.id)?.focus();
}

// Opens, redraws or closes, as the state says.
export function follow(changed) {
  if (state.picture === null) return dialog.close();
  if (changed.has("picture")) zoom = 0;
  if (!dialog.open) dialog.showModal();
  return show();
}

const show = latestOnly(async () => {
  const id = state.picture;
  if (id === null) return;
  const known = await describe(id, 0);
  if (known === null) return;
  const [width, height] = fit(known);
  const picture = state.labels ? (await describe(id, width)) ?? known : known;
  if (state.picture === id) keepMiddle(stage, () => draw(picture, width, height));
});

async function describe(id, width) {
  try {
    return await getJson(`picture.json?${query({ picture: id, width })}`);
  } catch (error) {
    stage.replaceChildren(error.message);
    list.replaceChildren();
    return null;
  }
}

// Returns the width and height in pixels at which a picture is shown.
function fit(picture) {
  const room = [Math.max(stage.clientWidth - 8, 50), Math.max(stage.clientHeight - 8, 50)];
  const scale = Math.min(room[0] / picture.width, room[1] / picture.height) * ZOOMS[zoom];
  const width = Math.min(Math.max(Math.round(picture.width * scale), 1), 3840);
  return [width, Math.max(Math.round(picture.height * width / picture.width), 1)];
}

function draw(picture, width, height) {
  document.getElementById("name").textContent = picture.name;
  const current = stage.firstElementChild;
  const side = Math.max(width, height);
  const isSame = current?.dataset?.source === pictureAddress(state.set, picture.id, side);
  const drawn = isSame ? current : drawPicture(picture, side, false);
  drawn.dataset.source = pictureAddress(state.set, picture.id, side);
  drawn.style.width = `${width}px`;
  drawn.style.height = `${height}px`;
  drawn.querySelectorAll("svg").forEach((svg) => svg.remove());
  drawn.append(drawBoxes(picture));
  if (picture.labels) drawn.append(drawLabels(picture.labels, width, height));
  if (!isSame) stage.replaceChildren(drawn);
  shown = picture;
  fillList(picture);
  prefetch(side);
}

function fillList(picture) {
  const focused = list.contains(document.activeElement)
    ? document.activeElement.closest("li").dataset.key : null;
  list.replaceChildren(...drawnBoxes(picture).reverse().map(entry));
  if (focused) list.querySelector(`[data-key="${focused}"] button`)?.focus();
}

function entry(box) {
  const { name, color } = classOf(box.label);
  const swatch = element("span", { className: "swatch" });
  swatch.style.background = color;
  const words = box.isTruth ? `${name}` : `${name} ${Math.round(100 * box.score)}%`;
  const kind = box.isTruth ? `object ${STATES[box.state]}`.trim() : info.kinds[box.kind].name;
  const button = element("button", { type: "button" }, swatch, words,
    element("span", { className: "kind" }, kind));
  return element("li", { "data-key": box.key }, button);
}

function choose(item) {
  const key = item?.dataset.key;
  if (!key) return;
  for (const each of dialog.querySelectorAll("[data-key]")) {
    each.classList.toggle("chosen", each.dataset.key === key);
  }
}

// Goes to the picture before or behind.
export async function step(by) {
  const place = grid.placeOf(state.picture);
  const next = place < 0 ? undefined : await grid.pictureAt(place + by);
  if (next) change({ picture: next.id });
}

// Moves through the list of boxes.
export function moveBox(by) {
  const buttons = [...list.querySelectorAll("button")];
  const at = buttons.indexOf(document.activeElement);
  const to = at < 0 ? 0 : Math.min(Math.max(at + by, 0), buttons.length - 1);
  buttons[to]?.focus();
}

export function enlarge() {
  zoom = (zoom + 1) % ZOOMS.length;
  show();
}

// Moves the view of an enlarged picture.
export function pan(columns, rows) {
  moveView(stage, columns, rows);
}

async function prefetch(side) {
  const place = grid.placeOf(state.picture);
  for (const at of place < 0 ? [] : [place + 1, place - 1]) {
    const near = await grid.pictureAt(at);
    if (near) new Image().src = pictureAddress(state.set, near.id, side);
  }
}
