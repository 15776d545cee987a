// The pictures that fit, as small copies; further ones come as they are scrolled to.

import { drawPicture, element } from "./draw.js";
import { isError, STATE_MISSED } from "./states.js";
import { getJson, info, latestOnly } from "./server.js";
import { change, query, state } from "./state.js";

const PAGE = 60;
const MOST = 300; // pictures that a change of the filters loads again at most
const SIDE = 240; // pixels of a card

const grid = document.getElementById("grid");
const message = document.getElementById("message");
const end = document.getElementById("end");

export let pictures = [];
export let total = 0;
let generation = 0; // of the filters: what was asked for before them is not shown
let onCounts = () => {};

export function start(showCounts) {
  onCounts = showCounts;
  grid.addEventListener("click", (event) => {
    const card = event.target.closest(".card");
    if (card) change({ picture: Number(card.dataset.id) });
  });
  new IntersectionObserver((entries) => {
    if (entries.some((entry) => entry.isIntersecting)) more();
  }, { rootMargin: "800px" }).observe(end);
}

// Loads the pictures again, after a change of the filters; as many as were there before.
export const reload = latestOnly(async () => {
  generation += 1;
  const asked = generation;
  const limit = Math.min(Math.max(pictures.length, PAGE), MOST);
  const answer = await ask({ start: 0, limit });
  if (answer === null || asked !== generation) return;
  const focused = document.activeElement?.dataset?.id;
  pictures = answer.pictures;
  grid.replaceChildren(...pictures.map(card));
  if (focused) cardOf(Number(focused))?.focus({ preventScroll: true });
  finish(answer);
});

// Loads the next pictures.
export const more = latestOnly(async () => {
  const asked = generation;
  if (!pictures.length || pictures.length >= total) return;
  const answer = await ask({ start: pictures.length, limit: PAGE });
  if (answer === null || asked !== generation) return;
  pictures.push(...answer.pictures);
  grid.append(...answer.pictures.map(card));
  finish(answer);
});

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
  total = answer.total;
  message.textContent = total ? "" : "No picture fits these filters: 0 clears them.";
  grid.dataset.ready = String(generation);
  onCounts(answer);
}

function card(picture) {
  const name = element("span", { className: "name" }, picture.name);
  const count = element("span", { className: "count" }, counted(picture));
  const caption = element("span", { className: "caption" }, name, count);
  const frame = element("span", { className: "frame" }, drawPicture(picture, SIDE, true));
  return element("button", {
    type: "button", className: "card", title: picture.name, "data-id": picture.id,
    "aria-label": `${picture.name}, ${counted(picture)}`,
  }, frame, caption);
}

function counted(picture) {
  if (info.sets[state.set].predictions === null) return `${picture.truth.length} objects`;
  const errors = picture.found.filter((row) => isError(row[6])).length;
  const missed = picture.truth.filter((row) => row[5] === STATE_MISSED).length;
  return `${errors + missed} wrong`;
}

export function cardOf(id) {
  return grid.querySelector(`.card[data-id="${id}"]`);
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
