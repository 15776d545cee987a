// The pictures that fit, as small copies. Those near the window are loaded and their boxes drawn; cards
// that were scrolled past stay, and are loaded again when they come near.

import { drawBoxes, drawPicture, element } from "./draw.js";
import { isError, STATE_MISSED } from "./states.js";
import { getJson, info, latestOnly } from "./server.js";
import { change, query, state } from "./state.js";

const PAGE = 60; // pictures of a request
const SIDE = 240; // pixels of a card

const grid = document.getElementById("grid");
const message = document.getElementById("message");
const end = document.getElementById("end");

let total = 0; // pictures that fit
let generation = 0; // of the filters: what was asked for before them is not shown
let pages = []; // what was loaded last, with its generation
let onCounts = () => {};
const shown = new WeakMap(); // the picture of each card
const near = new Set(); // cards, and the end of the grid
const watcher = new IntersectionObserver(watch, { rootMargin: "250px" });

export function start(showCounts) {
  onCounts = showCounts;
  grid.addEventListener("click", (event) => {
    const card = event.target.closest(".card");
    if (card) change({ picture: Number(card.dataset.id) });
  });
  watcher.observe(end);
}

function watch(entries) {
  for (const { target, isIntersecting } of entries) {
    if (isIntersecting) near.add(target);
    else near.delete(target);
    if (target !== end) drawCard(target);
  }
  refresh();
}

// Loads the pictures near the window again, after a change of the filters.
export async function reload() {
  generation += 1;
  await refresh();
}

const refresh = latestOnly(async () => {
  let number = stalePage();
  while (number !== undefined && await load(number)) {
    await twoFrames(); // in which the watcher tells what is near now
    number = stalePage();
  }
});

// Returns the first page near the window that is not loaded.
function stalePage() {
  const length = grid.children.length;
  const places = [...grid.children].flatMap((card, place) => (near.has(card) ? [place] : []));
  if (!length || (near.has(end) && length < total)) places.push(length);
  return places.map((place) => Math.floor(place / PAGE)).find((number) => !isFresh(number));
}

function twoFrames() {
  return new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
}

function isFresh(number) {
  return pages[number]?.generation === generation;
}

// Loads a page; returns false where there is no answer, or a later change of the filters.
async function load(number) {
  const asked = generation;
  const answer = await ask({ start: number * PAGE, limit: PAGE });
  if (answer === null || asked !== generation) return false;
  pages[number] = { generation, pictures: answer.pictures };
  total = answer.total;
  fitCards(Math.min(Math.max(grid.children.length, number * PAGE + answer.pictures.length), total));
  answer.pictures.forEach((picture, index) => fill(grid.children[number * PAGE + index], picture));
  finish(answer);
  return true;
}

// Makes the grid hold a number of cards.
function fitCards(length) {
  while (grid.children.length > length) {
    watcher.unobserve(grid.lastElementChild);
    near.delete(grid.lastElementChild);
    grid.lastElementChild.remove();
  }
  const missing = length - grid.children.length;
  const added = Array.from({ length: missing }, makeCard);
  grid.append(...added);
  added.forEach((card) => watcher.observe(card));
}

async function ask(page) {
  try {
    return await getJson(`pictures.json?${query(page)}`);
  } catch (error) {
    message.textContent = error instanceof TypeError
      ? "The server does not answer: start dyhead view again." : error.message;
    return null;
  }
}

function finish(answer) {
  message.textContent = total ? "" : "No picture fits these filters: 0 clears them.";
  grid.dataset.ready = String(generation);
  onCounts(answer);
}

function makeCard() {
  const name = element("span", { className: "name" });
  const count = element("span", { className: "count" });
  const frame = element("span", { className: "frame" });
  const caption = element("span", { className: "caption" }, name, count);
  return element("button", { type: "button", className: "card" }, frame, caption);
}

function fill(card, picture) {
  const isSame = card.dataset.set === String(state.set) && card.dataset.id === String(picture.id);
  shown.set(card, picture);
  Object.assign(card.dataset, { set: state.set, id: picture.id });
  card.title = picture.name;
  card.setAttribute("aria-label", `${picture.name}, ${counted(picture)}`);
  card.querySelector(".name").replaceChildren(...nameParts(picture.name));
  card.querySelector(".count").textContent = counted(picture);
  if (!isSame) card.querySelector(".frame").replaceChildren(drawPicture(picture, SIDE, true));
  drawCard(card);
}

// Parts a name, so that its folders are cut where there is no room for both.
function nameParts(name) {
  const start = name.lastIndexOf("/") + 1;
  const file = element("span", { className: "file" }, name.slice(start));
  return start ? [element("span", { className: "folder" }, name.slice(0, start)), file] : [file];
}

// Draws the boxes of a card near the window, and takes them from another.
function drawCard(card) {
  const picture = shown.get(card);
  const isOfSet = card.dataset.set === String(state.set); // or it is about to be filled anew
  card.querySelector("svg")?.remove();
  if (picture && isOfSet && near.has(card)) card.querySelector(".picture").append(drawBoxes(picture));
}

function counted(picture) {
  if (info.sets[state.set].predictions === null) return `${picture.truth.length} objects`;
  const errors = picture.found.filter((row) => isError(row[6])).length;
  const missed = picture.truth.filter((row) => row[5] === STATE_MISSED).length;
  return `${errors + missed} wrong`;
}

// Returns the place of a picture among those that fit, -1 where it is not known to be one.
export function placeOf(id) {
  const loaded = pages.flatMap(({ pictures }, number) => (isFresh(number)
    ? pictures.map((picture, index) => [picture.id, number * PAGE + index]) : []));
  return loaded.find(([known]) => known === id)?.[1] ?? -1;
}

// Returns the picture at a place among those that fit, loaded if need be; undefined where none is.
export async function pictureAt(place) {
  const number = Math.floor(place / PAGE);
  if (place < 0 || place >= total) return undefined;
  if (!isFresh(number)) await load(number);
  return isFresh(number) ? pages[number].pictures[place % PAGE] : undefined;
}

export function cardOf(id) {
  return grid.children[placeOf(id)];
}

// Moves the focus by cards, or by rows of them.
export function move(columns, rows) {
  const cards = [...grid.children];
  const at = cards.indexOf(document.activeElement);
  if (!cards.length) return;
  const perRow = cards.findIndex((each) => each.offsetTop > cards[0].offsetTop);
  const step = columns + rows * (perRow > 0 ? perRow : cards.length);
  const to = at < 0 ? 0 : Math.min(Math.max(at + step, 0), cards.length - 1);
  cards[to].focus({ preventScroll: true });
  cards[to].scrollIntoView({ block: "nearest" });
}
