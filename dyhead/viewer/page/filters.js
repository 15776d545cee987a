// The filters beside the pictures, with counts of what fits.

import { element } from "./draw.js";
import { info } from "./server.js";
import { change, clearFilters, state, toggled } from "./state.js";

const by = (id) => document.getElementById(id);

export function start() {
  by("set").append(...info.sets.map((set, index) => element("option", { value: index }, set.name)));
  by("set").parentElement.hidden = info.sets.length < 2;
  by("set").addEventListener("change", () => change({
    set: Number(by("set").value), classes: [], picture: null }));
  for (const id of ["low", "high"]) {
    by(id).addEventListener("input", () => change({ [id]: Number(by(id).value) }));
  }
  by("text").addEventListener("input", () => change({ text: by("text").value }));
  by("order").addEventListener("change", () => change({ order: by("order").value }));
  for (const id of ["truth", "labels"]) {
    by(id).addEventListener("change", () => change({ [id]: by(id).checked }));
  }
  by("clear").addEventListener("click", clearFilters);
  document.querySelector("aside form").addEventListener("submit", (event) => event.preventDefault());
  by("filters").open = !matchMedia("(max-width: 44rem)").matches;
  addKinds();
  addClasses();
  show();
}

function choice(key, value, name, swatch) {
  const box = element("input", { type: "checkbox", value });
  box.addEventListener("change", () => change({ [key]: toggled(state[key], value) }));
  const count = element("span", { className: "count" });
  const parts = swatch ? [box, swatch, name, count] : [box, name, count];
  return element("label", { className: "choice" }, ...parts);
}

function addKinds() {
  by("kinds").append(...info.kinds.map(({ name, meaning }, index) => {
    const label = choice("kinds", index, name);
    label.title = meaning;
    return label;
  }));
  for (const { name, meaning } of info.kinds) {
    by("meanings").append(element("dt", {}, name), element("dd", {}, meaning));
  }
}

// Lists the classes of the chosen set.
export function addClasses() {
  const list = element("div", { className: "list" });
  info.sets[state.set].classes.forEach(({ name, color }, index) => {
    const swatch = element("span", { className: "swatch" });
    swatch.style.background = color;
    list.append(choice("classes", index, name, swatch));
  });
  by("classes").querySelector(".list")?.remove();
  by("classes").append(list);
}

// Shows the state.
export function show() {
  by("set").value = state.set;
  for (const id of ["low", "high"]) {
    by(id).value = state[id];
    document.querySelector(`output[for="${id}"]`).textContent = state[id].toFixed(2);
  }
  if (by("text").value !== state.text) by("text").value = state.text;
  by("order").value = state.order;
  for (const id of ["truth", "labels"]) by(id).checked = state[id];
  for (const key of ["kinds", "classes"]) {
    by(key).querySelectorAll("input").forEach((box) => {
      box.checked = state[key].includes(Number(box.value));
    });
  }
  const hasPredictions = info.sets[state.set].predictions !== null;
  by("scores").hidden = by("kinds").hidden = !hasPredictions;
}

// Shows how many pictures and boxes fit.
export function showCounts({ total, counts }) {
  const set = info.sets[state.set];
  const resultsFolder = set.results_folder ? `; predictions: ${set.results_folder}` : "";
  const leftOut = set.left_out ? `; ${set.left_out} cannot be used (dyhead check says why)` : "";
  by("summary").textContent = `${total} of ${set.pictures} pictures${resultsFolder}${leftOut}`;
  by("kinds").querySelectorAll(".count").forEach((each, index) => {
    each.textContent = counts.kinds[index];
  });
  by("classes").querySelectorAll(".count").forEach((each, index) => {
    each.textContent = set.predictions === null
      ? counts.objects[index] : `${counts.predictions[index]} / ${counts.objects[index]}`;
    each.title = "predictions / objects";
  });
}
