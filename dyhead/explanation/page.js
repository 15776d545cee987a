"use strict";
const DATA = JSON.parse(document.getElementById("data").textContent);
const SVG = "http://www.w3.org/2000/svg";
// Radius of the heaviest point, a share of the picture's diagonal, but no more of the box's shorter side
// than lets the object be seen, and no less of the diagonal than lets the point be.
const LARGEST = 0.013, OF_BOX = 0.15, SMALLEST = 0.004;

function add(parent, name, attributes = {}, text = null) {
  const isDrawn = parent.namespaceURI === SVG || name === "svg";
  const element = isDrawn ? document.createElementNS(SVG, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== null) element.textContent = text;
  parent.append(element);
  return element;
}
const percent = (value) => Math.round(100 * value) + "%";

class Section {
  constructor(element, picture) {
    this.picture = picture;
    this.stage = element.querySelector(".stage");
    this.panel = element.querySelector(".panel");
    this.points = element.querySelector(".points");
    this.chosen = -1;
    this.step = 0; // which of the sampled blocks is shown
    this.hidden = new Set(); // levels
    this.boxes = picture.detections.map((found, index) => this.makeBox(found, index));
    // Small ones above large ones, or a large box would take every click on what lies in it.
    const area = (index) => { const [left, top, right, bottom] = picture.detections[index].box; return (right - left) * (bottom - top); };
    const order = [...this.boxes.keys()].sort((one, other) => area(other) - area(one));
    element.querySelector(".boxes").append(...order.map((index) => this.boxes[index]));
    this.buttons = picture.detections.map((found, index) => this.addButton(element.querySelector(".choices"), found, index));
    element.addEventListener("keydown", (event) => this.press(event));
  }

  makeBox(found, index) {
    const [left, top, right, bottom] = found.box;
    const label = `${found.name} ${percent(found.score)}, from ${found.explanation.level}`;
    const group = add(document.createElementNS(SVG, "svg"), "g", { class: "box", role: "button", tabindex: 0, "aria-label": label });
    const place = { x: left, y: top, width: right - left, height: bottom - top };
    add(group, "title", {}, label);
    add(group, "rect", { ...place, class: "halo" });
    add(group, "rect", { ...place, stroke: this.picture.colors[index] });
    group.addEventListener("click", () => this.choose(index === this.chosen ? -1 : index));
    return group;
  }

  addButton(parent, found, index) {
    const button = add(add(parent, "li"), "button", { type: "button", "aria-pressed": "false" });
    add(button, "span", { class: "swatch", style: `background:${this.picture.colors[index]}` });
    button.append(`${found.name} ${percent(found.score)} · ${found.explanation.level}`);
    button.addEventListener("click", () => this.choose(index === this.chosen ? -1 : index));
    return button;
  }

  press(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return; // the browser's own
    const onBox = this.boxes.indexOf(event.target), onButton = this.buttons.indexOf(event.target);
    const at = Math.max(onBox, onButton);
    if (event.key === "Escape") return this.choose(-1);
    if (at < 0) return;
    if (onBox >= 0 && (event.key === "Enter" || event.key === " ")) {
      event.preventDefault();
      return this.choose(at === this.chosen ? -1 : at);
    }
    const move = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!move) return;
    event.preventDefault();
    const next = (at + move + this.boxes.length) % this.boxes.length;
    (onBox >= 0 ? this.boxes : this.buttons)[next].focus();
    this.choose(next);
  }

  choose(index) {
    this.chosen = index;
    this.stage.classList.toggle("has-chosen", index >= 0);
    this.boxes.forEach((box, other) => box.classList.toggle("is-chosen", other === index));
    this.buttons.forEach((button, other) => button.setAttribute("aria-pressed", String(other === index)));
    this.panel.replaceChildren();
    if (index < 0) {
      add(this.panel, "p", { class: "dim" }, "No detection is chosen.");
      this.points.replaceChildren();
      return;
    }
    this.describe(this.picture.detections[index]);
    this.drawPoints();
  }

  describe(found) {
    const { level, row, column, location, sampled } = found.explanation;
    const stride = this.picture.levels.find((each) => each.name === level).stride;
    add(this.panel, "h3", {}, `${found.name} ${percent(found.score)}`);
    const list = add(this.panel, "dl");
    const facts = [
      ["level", `${level} (stride ${stride})`],
      ["location", `row ${row}, column ${column}; at ${location.map(Math.round).join(", ")} in the picture`],
      ["box", found.box.map(Math.round).join(", ")],
    ];
    for (const [term, value] of facts) { add(list, "dt", {}, term); add(list, "dd", {}, value); }
    this.addPointChoice(sampled);
    this.addLevelChoice();
    this.addWeights(level);
    this.addChannels(level);
  }

  addPointChoice(sampled) {
    add(this.panel, "h3", {}, "Sampling points");
    const set = add(this.panel, "fieldset", { class: "pick" });
    add(set, "legend", {}, "sampled by");
    const name = `step-${this.picture.index}`;
    this.step = Math.min(this.step, sampled.length - 1);
    sampled.forEach((each, step) => {
      const label = add(set, "label");
      const input = add(label, "input", { type: "radio", name });
      input.checked = step === this.step;
      input.addEventListener("change", () => { this.step = step; this.drawPoints(); });
      label.append(step ? ` traced to block ${each.block}` : ` block ${each.block}`);
    });
    this.note = add(this.panel, "p", { class: "dim" });
  }

  addLevelChoice() {
    const set = add(this.panel, "fieldset", { class: "pick levels" });
    add(set, "legend", {}, "on the levels, the finest first");
    this.picture.levels.forEach((level, index) => {
      const label = add(set, "label");
      const input = add(label, "input", { type: "checkbox" });
      input.checked = !this.hidden.has(index);
      input.addEventListener("change", () => {
        if (input.checked) this.hidden.delete(index); else this.hidden.add(index);
        this.drawPoints();
      });
      add(label, "span", { class: "swatch of-level", style: `background:${DATA.level_colors[index]}` });
      label.append(level.name);
    });
  }

  drawPoints() {
    const { box: [left, top, right, bottom], explanation } = this.picture.detections[this.chosen];
    const { sampled, location } = explanation;
    const { points, kept, block } = sampled[this.step];
    const diagonal = Math.hypot(this.picture.width, this.picture.height);
    const largest = Math.min(LARGEST * diagonal, Math.max(OF_BOX * Math.min(right - left, bottom - top), SMALLEST * diagonal));
    const heaviest = Math.max(...points.map((point) => point[2]), 1e-12);
    this.points.replaceChildren();
    let outside = 0;
    for (const [x, y, weight, level] of points) {
      if (x < 0 || y < 0 || x > this.picture.width || y > this.picture.height) outside += 1;
      if (this.hidden.has(level)) continue;
      const radius = 0.17 * largest + largest * Math.sqrt(weight / heaviest);
      add(this.points, "circle", {
        cx: x, cy: y, r: radius, fill: DATA.level_colors[level], "fill-opacity": 0.85,
        stroke: DATA.level_outlines[level], "stroke-width": diagonal * 0.0009,
      });
    }
    const arm = diagonal * 0.014, [x, y] = location;
    for (const [stroke, width] of [["#000", 0.006], ["#fff", 0.0028]]) {
      add(this.points, "path", { d: `M${x - arm} ${y}h${2 * arm}M${x} ${y - arm}v${2 * arm}`, stroke, "stroke-width": diagonal * width });
    }
    const share = kept > 0.9995 ? "all" : percent(kept);
    this.note.textContent = `${points.length} points with ${share} of the weight of block ${block}'s samples, ${outside} of them outside of the picture; the cross is the location.`;
  }

  addWeights(level) {
    const index = this.picture.levels.findIndex((each) => each.name === level);
    const blocks = this.picture.blocks.map((block) => block[index]);
    add(this.panel, "h3", {}, `Scale weights of ${level}, block by block`);
    if (!blocks[0].weights.length) return add(this.panel, "p", {}, "The blocks have no scale attention.");
    const own = blocks[0].weights.length === 1 && blocks[0].branches.length > 1;
    const table = add(add(this.panel, "div", { class: "scroll" }), "table");
    const head = add(table, "tr");
    add(head, "th", { scope: "col" }, "block");
    for (const name of own ? [level] : blocks[0].branches) add(head, "th", { scope: "col" }, `from ${name}`);
    blocks.forEach((block, number) => {
      const row = add(table, "tr", number + 1 === this.picture.explained_block ? { class: "is-block" } : {});
      add(row, "th", { scope: "row" }, String(number + 1));
      for (const weight of block.weights) {
        const cell = add(row, "td");
        add(add(cell, "span", { class: "meter", "aria-hidden": "true" }), "span", { style: `width:${100 * weight}%` });
        cell.append(weight.toFixed(2));
      }
    });
  }

  addChannels(level) {
    const index = this.picture.levels.findIndex((each) => each.name === level);
    const block = this.picture.blocks[this.picture.explained_block - 1][index];
    add(this.panel, "h3", {}, `Channels of ${level} in block ${this.picture.explained_block}`);
    if (!block.slopes.length) return add(this.panel, "p", {}, "The blocks have no DyReLU.");
    add(this.panel, "p", {}, `${block.damped.length} damped, ${block.amplified.length} amplified, ${block.passing_negative.length} let negative values pass, of ${block.slopes.length}.`);
    this.plotSlopes([...block.slopes].sort((a, b) => a[0] - b[0]));
    const details = add(this.panel, "details");
    add(details, "summary", {}, "Which channels");
    for (const [name, list] of [["damped", block.damped], ["amplified", block.amplified], ["let negative values pass", block.passing_negative]]) {
      add(details, "p", {}, `${name}: ${list.join(", ") || "none"}`);
    }
  }

  plotSlopes(slopes) {
    const svg = add(this.panel, "svg", { class: "plot", viewBox: "0 0 420 176", role: "img", "aria-label": "Slopes of every channel, sorted by that for positive values" });
    const y = (value) => 118 - 50 * value, x = (order) => 40 + (370 * (order + 0.5)) / slopes.length;
    for (const [low, high] of DATA.as_relu) add(svg, "rect", { x: 40, width: 370, y: y(high), height: y(low) - y(high), class: "as-relu" });
    for (const value of [-1, -0.5, 0, 0.5, 1, 1.5, 2]) {
      add(svg, "line", { x1: 36, x2: 410, y1: y(value), y2: y(value) });
      add(svg, "text", { x: 30, y: y(value) + 4, "text-anchor": "end" }, String(value));
    }
    slopes.forEach(([positive, negative], order) => {
      add(svg, "circle", { cx: x(order), cy: y(positive), r: 2.2, class: "positive" });
      const at = x(order), other = y(negative);
      add(svg, "path", { d: `M${at - 2} ${other - 2}l4 4m0 -4l-4 4`, class: "negative" });
    });
    add(this.panel, "p", { class: "dim" }, "Dots: slope for positive values, crosses: for negative ones; grey: as ReLU.");
  }
}

const sections = [...document.querySelectorAll(".explained")].map((element, index) => new Section(element, { ...DATA.pictures[index], index }));
if (sections.length && sections[0].boxes.length) sections[0].choose(0);
