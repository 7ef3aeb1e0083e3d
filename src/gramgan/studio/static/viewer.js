// Pictures compared: a divider between two, a third beside them, all at the same place and zoom, down to single pixels.
// Only the tiles that are seen are loaded, at the size at which they are seen.

import { get, h, write } from "./core.js";

const KEPT = 300; // tiles
const LARGEST = 32; // screen pixels for one of the picture's
const ZOOMS = [1, 2, 4, 8];

/** A picture in tiles. */
class Tiles {
  constructor(reference, shape, changed) {
    Object.assign(this, shape, { reference, changed });
    this.loaded = new Map();
  }

  image(level, column, row) {
    const key = `${level}/${column}/${row}`;
    let image = this.loaded.get(key);
    if (!image) {
      image = new Image();
      image.onload = this.changed;
      image.src = `/api/shown/${this.reference}/${key}`;
      this.loaded.set(key, image);
      if (this.loaded.size > KEPT) this.loaded.delete(this.loaded.keys().next().value);
    }
    return image.complete && image.naturalWidth ? image : null;
  }

  /** Draw what the view shows: first the coarsest level, so that something is there, then the one that fits. */
  draw(context, view, size) {
    const stretch = (view.scale * view.width) / this.width; // screen pixels for one of this picture's
    const fitting = Math.max(0, Math.min(this.levels - 1, Math.floor(Math.log2(1 / stretch))));
    context.imageSmoothingEnabled = view.scale <= 1.0001; // beyond that, single pixels are looked at
    for (const level of new Set([this.levels - 1, fitting])) this.drawLevel(context, view, size, level, stretch);
  }

  drawLevel(context, view, size, level, stretch) {
    const side = this.tile * 2 ** level;
    const left = size.width / 2 - (view.x * this.width / view.width) * stretch;
    const top = size.height / 2 - (view.y * this.height / view.height) * stretch;
    const first = (start) => Math.max(0, Math.floor(-start / (side * stretch)));
    const last = (start, length, all) => Math.min(Math.ceil(all / side), Math.ceil((length - start) / (side * stretch)));
    for (let row = first(top); row < last(top, size.height, this.height); row += 1) {
      for (let column = first(left); column < last(left, size.width, this.width); column += 1) {
        const image = this.image(level, column, row);
        if (!image) continue;
        const width = Math.min(image.naturalWidth * 2 ** level, this.width - column * side);
        const height = Math.min(image.naturalHeight * 2 ** level, this.height - row * side);
        context.drawImage(image, left + column * side * stretch, top + row * side * stretch, width * stretch, height * stretch);
      }
    }
  }
}

export class Viewer {
  /** `root`: an empty element. `picked(x, y)`: told a pixel that was clicked, where pictures are for picking. */
  constructor(root, { picked = null } = {}) {
    this.root = root;
    this.picked = picked;
    this.known = new Map();
    this.sides = {};
    this.view = { x: 0, y: 0, scale: 1, width: 1, height: 1 };
    this.divider = 0.5;
    this.build();
    new ResizeObserver(() => this.draw()).observe(root);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  build() {
    const label = "Picture. Arrow keys move it, plus and minus zoom, 0 fits it into the window.";
    const stage = () => h("div", { class: `stage${this.picked ? " picking" : ""}`, tabIndex: 0, role: "group", "aria-label": label }, h("canvas", { role: "img", "aria-label": "Picture" }));
    this.main = stage();
    this.tagLeft = h("span", { class: "tag left" });
    this.tagRight = h("span", { class: "tag right" });
    this.main.append(this.tagLeft, this.tagRight);
    this.beside = stage();
    this.tagThird = h("span", { class: "tag left" });
    this.beside.append(this.tagThird);
    this.slider = h("input", { type: "range", min: 0, max: 100, step: 1, value: 50, "aria-label": "Divider between left and right", oninput: () => { this.divider = this.slider.value / 100; this.draw(); } });
    this.selects = h("div", { class: "sides" });
    this.percent = h("output", { class: "quiet" });
    const zooms = [
      h("button", { type: "button", onclick: () => this.fit() }, "Fit"),
      ...ZOOMS.map((zoom) => h("button", { type: "button", onclick: () => this.zoomTo(zoom) }, `${100 * zoom} %`)),
      h("button", { type: "button", "aria-label": "Smaller", onclick: () => this.zoomTo(this.view.scale / 1.5) }, "−"),
      h("button", { type: "button", "aria-label": "Larger", onclick: () => this.zoomTo(this.view.scale * 1.5) }, "+"),
      this.percent,
    ];
    this.stages = h("div", { class: "stages" }, h("div", {}, this.main, this.slider), this.beside);
    this.root.append(h("div", { class: "tools" }, this.selects, h("div", { class: "zooms", role: "group", "aria-label": "Zoom" }, ...zooms)), this.stages);
    for (const one of [this.main, this.beside]) this.listen(one);
  }

  /** Show pictures by their references; `third` and `right` may be missing. `choices`: [{reference, label}] to change them. */
  async show({ left, right = null, third = null, choices = [] }) {
    this.choices = choices;
    this.root.hidden = false;
    const before = this.reference;
    const found = await Promise.all([left, right, third].map((one) => (one ? this.load(one) : null)));
    [this.sides.left, this.sides.right, this.sides.third] = found;
    this.references = { left, right, third };
    const shown = found.filter(Boolean);
    const largest = shown.reduce((a, b) => (b.width > a.width ? b : a));
    const { width, height } = largest;
    const old = this.view;
    this.reference = choices.map((one) => one.reference).join() || left;
    if (before === this.reference && old.width > 1) { // the same place, now of other pictures
      const factor = width / old.width;
      this.view = { x: old.x * factor, y: old.y * (height / old.height), scale: old.scale / factor, width, height };
    } else {
      this.view = { x: width / 2, y: height / 2, scale: 1, width, height };
      this.fitting = true;
    }
    this.chooseSides();
    this.slider.hidden = !right;
    this.beside.hidden = !third;
    this.stages.classList.toggle("two", Boolean(third));
    for (const [tag, one] of [[this.tagLeft, right && left], [this.tagRight, right], [this.tagThird, third]]) {
      tag.hidden = !one;
      write(tag, one ? this.nameOf(one) : "");
    }
    this.main.querySelector("canvas").setAttribute("aria-label", right ? `${this.nameOf(left)} left of the divider, ${this.nameOf(right)} right of it` : this.nameOf(left));
    if (this.fitting) this.fit(); else this.draw();
  }

  nameOf(reference) { return (this.choices.find((one) => one.reference === reference) || { label: "picture" }).label; }

  chooseSides() {
    const select = (side, text) => {
      const options = this.choices.map((one) => h("option", { value: one.reference, selected: this.references[side] === one.reference }, one.label));
      if (side === "third") options.unshift(h("option", { value: "", selected: !this.references.third }, "none"));
      return h("label", {}, text, h("select", { onchange: (event) => this.show({ ...this.references, [side]: event.target.value || null, choices: this.choices }) }, ...options));
    };
    const key = JSON.stringify([this.references, this.choices]);
    if (this.selects.dataset.key === key) return;
    this.selects.dataset.key = key;
    this.selects.replaceChildren(...(this.choices.length > 1 ? [select("left", "Left"), select("right", "Right"), select("third", "Third view")] : []));
  }

  async load(reference) {
    if (!this.known.has(reference)) this.known.set(reference, new Tiles(reference, await get(`/api/shown/${reference}`), () => this.draw()));
    return this.known.get(reference);
  }

  listen(stage) {
    let held = null;
    const place = (event) => { const box = stage.getBoundingClientRect(); return { x: event.clientX - box.left, y: event.clientY - box.top, width: box.width, height: box.height }; };
    stage.addEventListener("pointerdown", (event) => {
      const at = place(event);
      const onDivider = stage === this.main && this.sides.right && Math.abs(at.x - this.divider * at.width) < 14;
      held = { ...at, onDivider, moved: false };
      stage.setPointerCapture(event.pointerId);
    });
    stage.addEventListener("pointermove", (event) => {
      if (!held) return;
      const at = place(event);
      held.moved ||= Math.hypot(at.x - held.x, at.y - held.y) > 3;
      if (held.onDivider) { this.divider = Math.min(1, Math.max(0, at.x / at.width)); this.slider.value = 100 * this.divider; this.draw(); return; }
      if (!held.moved) return;
      this.move((held.x - at.x) / this.view.scale, (held.y - at.y) / this.view.scale);
      Object.assign(held, { x: at.x, y: at.y });
    });
    stage.addEventListener("pointerup", (event) => {
      if (held && !held.moved && !held.onDivider) this.pick(place(event));
      held = null;
    });
    stage.addEventListener("pointercancel", () => { held = null; });
    stage.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoomTo(this.view.scale * Math.exp(-event.deltaY / 400), place(event));
    }, { passive: false });
    stage.addEventListener("keydown", (event) => {
      const step = 60 / this.view.scale;
      const keys = {
        ArrowLeft: () => this.move(-step, 0), ArrowRight: () => this.move(step, 0), ArrowUp: () => this.move(0, -step), ArrowDown: () => this.move(0, step),
        "+": () => this.zoomTo(this.view.scale * 1.5), "-": () => this.zoomTo(this.view.scale / 1.5), 0: () => this.fit(), 1: () => this.zoomTo(1),
        Enter: () => { const box = stage.getBoundingClientRect(); this.pick({ x: box.width / 2, y: box.height / 2, width: box.width, height: box.height }); },
      };
      if (!keys[event.key]) return;
      event.preventDefault();
      keys[event.key]();
    });
  }

  move(x, y) {
    this.fitting = false;
    this.view.x = Math.min(this.view.width, Math.max(0, this.view.x + x));
    this.view.y = Math.min(this.view.height, Math.max(0, this.view.y + y));
    this.draw();
  }

  fit() {
    const { clientWidth, clientHeight } = this.main;
    if (!clientWidth) return;
    Object.assign(this.view, { x: this.view.width / 2, y: this.view.height / 2, scale: Math.min(clientWidth / this.view.width, clientHeight / this.view.height) });
    this.fitting = true;
    this.draw();
  }

  /** Zoom; what is under `at`, or in the middle, stays where it is. */
  zoomTo(scale, at = null) {
    const view = this.view;
    const least = Math.min(0.5, 32 / Math.max(view.width, view.height));
    const zoomed = Math.min(LARGEST, Math.max(least, scale));
    if (at) {
      view.x += (at.x - at.width / 2) * (1 / view.scale - 1 / zoomed);
      view.y += (at.y - at.height / 2) * (1 / view.scale - 1 / zoomed);
    }
    view.scale = zoomed;
    this.fitting = false;
    this.move(0, 0);
  }

  pick(at) {
    if (!this.picked || !this.sides.left) return;
    const x = Math.floor(this.view.x + (at.x - at.width / 2) / this.view.scale);
    const y = Math.floor(this.view.y + (at.y - at.height / 2) / this.view.scale);
    if (x < 0 || y < 0 || x >= this.view.width || y >= this.view.height) return;
    this.mark = { x, y };
    this.draw();
    this.picked(x, y);
  }

  draw() {
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => {
      if (!this.sides.left || this.root.hidden) return;
      write(this.percent, `${Math.round(100 * this.view.scale)} %`);
      this.paint(this.main, this.sides.left, this.sides.right);
      if (this.sides.third) this.paint(this.beside, this.sides.third, null);
    });
  }

  paint(stage, left, right) {
    const canvas = stage.querySelector("canvas");
    const ratio = window.devicePixelRatio || 1;
    const size = { width: stage.clientWidth, height: stage.clientHeight };
    canvas.width = size.width * ratio;
    canvas.height = size.height * ratio;
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    const at = right ? this.divider * size.width : size.width;
    const half = (start, end, tiles) => {
      context.save();
      context.beginPath();
      context.rect(start, 0, end - start, size.height);
      context.clip();
      tiles.draw(context, this.view, size);
      context.restore();
    };
    half(0, at, left);
    if (right) {
      half(at, size.width, right);
      context.fillStyle = "#fff";
      context.fillRect(at - 1, 0, 2, size.height);
      context.beginPath();
      context.arc(at, size.height / 2, 13, 0, 7);
      context.fill();
      context.fillStyle = "#1b1e22";
      context.font = "15px system-ui, sans-serif";
      context.textAlign = "center";
      context.textBaseline = "middle";
      context.fillText("↔", at, size.height / 2);
    }
    if (this.picked) this.cross(context, size);
  }

  cross(context, size) {
    const at = this.mark || { x: this.view.x, y: this.view.y };
    const x = size.width / 2 + (at.x + 0.5 - this.view.x) * this.view.scale;
    const y = size.height / 2 + (at.y + 0.5 - this.view.y) * this.view.scale;
    for (const [colour, width] of [["#000", 4], ["#fff", 2]]) {
      context.strokeStyle = colour;
      context.lineWidth = width;
      context.strokeRect(x - 9, y - 9, 18, 18);
    }
  }
}
