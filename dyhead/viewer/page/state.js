// The state of the page, which its address holds: reloading or sharing it gives the same view.

const DEFAULTS = {
  set: 0, low: 0.3, high: 1, classes: [], kinds: [], text: "", order: "given",
  truth: true, labels: true, picture: null,
};

const readers = {
  set: count, low: share, high: share, classes: numbers, kinds: numbers, text: String,
  order: (text) => (text === "most" ? "most" : "given"),
  truth: (text) => text !== "0", labels: (text) => text !== "0", picture: count,
};

export let state = read();

function count(text) {
  return /^\d{1,9}$/.test(text) ? Number(text) : null;
}

function share(text) {
  const number = Number(text);
  return number >= 0 && number <= 1 ? number : null;
}

function numbers(text) {
  return text.split(",").map(count).filter((each) => each !== null);
}

function read() {
  const found = { ...DEFAULTS };
  for (const [key, text] of new URLSearchParams(location.hash.slice(1))) {
    const value = key in readers ? readers[key](text) : null;
    if (value !== null) found[key] = value;
  }
  return found;
}

function write(values) {
  const words = new URLSearchParams();
  for (const [key, value] of Object.entries(values)) {
    if (String(value) === String(DEFAULTS[key])) continue;
    words.set(key, typeof value === "boolean" ? Number(value) : String(value));
  }
  return `#${words}`.replaceAll("%2C", ",");
}

const listeners = [];

// Calls a function with the keys that have changed, whenever some have.
export function onChange(listener) {
  listeners.push(listener);
}

// Changes some values; a step back in the browser undoes the opening of a picture.
export function change(values) {
  const before = state;
  state = { ...state, ...values };
  const isOpening = before.picture === null && state.picture !== null;
  try {
    history[isOpening ? "pushState" : "replaceState"](null, "", write(state));
  } catch {
    // Some browsers refuse many in a short time: the next change writes the address.
  }
  tell(before);
}

export function clearFilters() {
  const { low, high, classes, kinds, text } = DEFAULTS;
  change({ low, high, classes, kinds, text });
}

function tell(before) {
  const changed = new Set(
    Object.keys(DEFAULTS).filter((key) => String(before[key]) !== String(state[key])));
  if (changed.size) listeners.forEach((listener) => listener(changed));
}

addEventListener("popstate", () => {
  const before = state;
  state = read();
  tell(before);
});

// Returns the filters as the server takes them.
export function query(more = {}) {
  const { set, low, high, classes, kinds, text, order } = state;
  return new URLSearchParams({ set, low, high, classes, kinds, text, order, ...more });
}

export function toggled(list, value) {
  return list.includes(value) ? list.filter((each) => each !== value) : [...list, value];
}
