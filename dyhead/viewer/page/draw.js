// Draws a picture and its boxes, and labels where the server has placed them.

import { isError, STATE_MISSED } from "./states.js";
import { info, pictureAddress } from "./server.js";
import { state } from "./state.js";

const SVG = "http://www.w3.org/2000/svg";

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key in made) made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

function svgElement(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

export function classOf(index) {
  return info.sets[state.set].classes[index];
}

// Returns what is drawn of a picture, the most certain predictions last, with "key" of each.
export function drawnBoxes(picture) {
  const found = picture.found.map(([x0, y0, x1, y1, label, score, kind], index) => ({
    key: `f${index}`, corners: [x0, y0, x1, y1], label, score, kind, isWrong: isError(kind),
  }));
  const truth = picture.truth.map(([x0, y0, x1, y1, label, what], index) => ({
    key: `t${index}`, corners: [x0, y0, x1, y1], label, state: what, isTruth: true,
    isWrong: what === STATE_MISSED,
  }));
  return [...(state.truth ? truth : []), ...found.reverse()];
}

// Returns a picture without its boxes.
export function drawPicture(picture, pixels, isLazy) {
  const image = element("img", {
    alt: "", loading: isLazy ? "lazy" : "eager", decoding: "async",
    src: pictureAddress(state.set, picture.id, pixels),
  });
  const drawn = element("div", { className: "picture" }, image);
  image.addEventListener("error", () => sayWhy(drawn, image));
  return drawn;
}

async function sayWhy(drawn, image) {
  let reason = "The server does not answer: is dyhead view still running?";
  try {
    reason = await (await fetch(image.src)).text();
  } catch { /* the sentence stands */ }
  image.remove();
  drawn.prepend(element("div", { className: "failed" }, reason));
}

export function drawBoxes(picture) {
  const svg = svgElement("svg", {
    viewBox: `0 0 ${picture.width} ${picture.height}`, preserveAspectRatio: "xMidYMid meet",
    "aria-hidden": "true",
  });
  for (const box of drawnBoxes(picture)) {
    const [x, y, right, bottom] = box.corners;
    const place = { x, y, width: Math.max(right - x, 0.5), height: Math.max(bottom - y, 0.5) };
    const classes = ["line", box.isTruth ? "truth" : "found", box.isWrong ? "wrong" : ""];
    const group = svgElement("g", { color: classOf(box.label).color, "data-key": box.key });
    group.append(
      svgElement("rect", { ...place, class: "casing" }),
      svgElement("rect", { ...place, class: classes.join(" ") }));
    svg.append(group);
  }
  return svg;
}

// Draws labels over a picture that is shown at some size in pixels.
export function drawLabels(labels, width, height) {
  const svg = svgElement("svg", { viewBox: `0 0 ${width} ${height}`, class: "labels" });
  for (const label of labels) {
    const { color, text } = classOf(label.class);
    const { left: x, top: y, width: w, height: h } = label;
    const words = svgElement("text", {
      x: x + 2, y: y + h * 0.76, fill: text, "font-size": label.font,
      textLength: Math.max(w - 4, 1), lengthAdjust: "spacingAndGlyphs",
    });
    words.textContent = label.text;
    svg.append(svgElement("rect", { x, y, width: w, height: h, fill: color }), words);
  }
  return svg;
}
