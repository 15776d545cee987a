// Starts the page, lets all parts follow its state, and reads the keys.

import * as filters from "./filters.js";
import * as grid from "./grid.js";
import * as large from "./large.js";
import { info, loadInfo } from "./server.js";
import { change, clearFilters, onChange, state } from "./state.js";

const FILTERS = ["set", "low", "high", "classes", "kinds", "text", "order", "truth"];
const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const help = document.getElementById("help");

async function start() {
  await loadInfo();
  document.title = `${info.title} - dyhead view`;
  document.getElementById("title").textContent = info.title;
  if (state.set >= info.sets.length) change({ set: 0 });
  filters.start();
  grid.start(filters.showCounts);
  large.start();
  onChange(follow);
  document.getElementById("help-button").addEventListener("click", () => help.showModal());
  addEventListener("keydown", onKey);
  await grid.reload();
  if (state.picture !== null) large.follow(new Set(["picture"]));
}

function follow(changed) {
  if (state.set >= info.sets.length) return change({ set: 0 });
  if (changed.has("set")) filters.addClasses();
  filters.show();
  if (FILTERS.some((key) => changed.has(key))) grid.reload();
  if (changed.has("picture") || state.picture !== null) large.follow(changed);
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || help.open) return;
  const isTyping = event.target.matches("input[type=search], input[type=range], select");
  if (isTyping) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const action = actionOf(event);
  if (!action) return;
  event.preventDefault();
  action();
}

function actionOf({ key, shiftKey }) {
  const isLarge = state.picture !== null;
  if (isLarge && shiftKey && key in STEPS) return () => large.pan(...STEPS[key]);
  const actions = {
    ArrowLeft: () => (isLarge ? large.step(-1) : grid.move(-1, 0)),
    ArrowRight: () => (isLarge ? large.step(1) : grid.move(1, 0)),
    ArrowUp: () => (isLarge ? large.moveBox(-1) : grid.move(0, -1)),
    ArrowDown: () => (isLarge ? large.moveBox(1) : grid.move(0, 1)),
    "+": () => raise(0.05),
    "-": () => raise(-0.05),
    0: clearFilters,
    "/": () => !isLarge && document.getElementById("text").focus(),
    t: () => change({ truth: !state.truth }),
    l: () => change({ labels: !state.labels }),
    z: () => isLarge && large.enlarge(),
    "?": () => help.showModal(),
  };
  const kind = Number(key) - 1;
  if (kind >= 0 && kind < info.kinds.length - 1) {
    return () => change({ kinds: String(state.kinds) === String(kind) ? [] : [kind] });
  }
  return actions[key];
}

function raise(by) {
  change({ low: Math.min(Math.max(Math.round(100 * (state.low + by)) / 100, 0), 1) });
}

start().catch((error) => {
  document.getElementById("message").textContent = `The page cannot start: ${error.message}`;
});
