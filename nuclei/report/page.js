"use strict";
// What the report does: pictures that zoom, outlines that switch, points that show their patch.
// Without this script the page still shows everything.

const hover = document.getElementById("hover");

function showPoint(point, x, y) {
  hover.replaceChildren();
  if (point.dataset.thumb) {
    const image = document.createElement("img");
    image.src = point.dataset.thumb;
    image.alt = "";
    hover.append(image);
  }
  hover.append(point.dataset.text);
  hover.hidden = false;
  const box = hover.getBoundingClientRect();
  hover.style.left = Math.max(4, Math.min(x + 14, innerWidth - box.width - 4)) + "px";
  hover.style.top = Math.max(4, Math.min(y + 14, innerHeight - box.height - 4)) + "px";
}

for (const point of document.querySelectorAll(".point")) {
  point.addEventListener("pointermove", (event) => showPoint(point, event.clientX, event.clientY));
  point.addEventListener("pointerleave", () => { hover.hidden = true; });
  point.addEventListener("focus", () => {
    const box = point.getBoundingClientRect();
    showPoint(point, box.right, box.bottom);
  });
  point.addEventListener("blur", () => { hover.hidden = true; });
}

class Zoom {
  constructor(frame) {
    this.frame = frame;
    this.svg = frame.querySelector("svg.zoom");
    const whole = this.svg.viewBox.baseVal;
    this.width = whole.width;
    this.height = whole.height;
    this.reset();
    this.svg.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    this.svg.addEventListener("pointerdown", (event) => this.grab(event));
    this.svg.addEventListener("pointermove", (event) => this.drag(event));
    this.svg.addEventListener("pointerup", () => { this.last = null; });
    this.svg.addEventListener("dblclick", () => this.reset());
    this.svg.addEventListener("keydown", (event) => this.key(event));
    for (const button of frame.querySelectorAll("button")) {
      button.addEventListener("click", () => this.press(button.dataset.zoom));
    }
    for (const box of frame.querySelectorAll("input[data-layer]")) {
      box.addEventListener("change", () => {
        this.svg.querySelector(".layer.l" + box.dataset.layer).classList.toggle("hidden", !box.checked);
      });
    }
  }

  reset() { this.view = { x: 0, y: 0, scale: 1 }; this.apply(); }

  apply() {
    const { scale } = this.view;
    const width = this.width / scale, height = this.height / scale;
    this.view.x = Math.max(0, Math.min(this.view.x, this.width - width));
    this.view.y = Math.max(0, Math.min(this.view.y, this.height - height));
    this.svg.setAttribute("viewBox", `${this.view.x} ${this.view.y} ${width} ${height}`);
  }

  // Zoom by `factor`; the point of the image at (a, b), px, stays where it is.
  by(factor, a, b) {
    const before = this.view.scale;
    this.view.scale = Math.max(1, Math.min(20, before * factor));
    const change = 1 / before - 1 / this.view.scale;
    this.view.x += (a - this.view.x) * before * change;
    this.view.y += (b - this.view.y) * before * change;
    this.apply();
  }

  at(event) {
    return new DOMPoint(event.clientX, event.clientY).matrixTransform(this.svg.getScreenCTM().inverse());
  }

  middle(factor) {
    this.by(factor, this.view.x + this.width / this.view.scale / 2, this.view.y + this.height / this.view.scale / 2);
  }

  wheel(event) {
    // The page scrolls as usual; with Ctrl, in the large view, or once zoomed, the wheel zooms.
    if (!event.ctrlKey && this.view.scale === 1 && !this.frame.classList.contains("large")) return;
    event.preventDefault();
    const point = this.at(event);
    this.by(Math.exp(-event.deltaY / 300), point.x, point.y);
  }

  grab(event) {
    if (this.view.scale === 1) return;
    this.last = this.at(event);
    this.svg.setPointerCapture(event.pointerId);
  }

  drag(event) {
    if (!this.last) return;
    const now = this.at(event);
    this.view.x += this.last.x - now.x;
    this.view.y += this.last.y - now.y;
    this.apply();
    this.last = this.at(event);
  }

  key(event) {
    const actions = { "+": "in", "=": "in", "-": "out", "0": "reset", Enter: "large", Escape: "small" };
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (actions[event.key]) {
      this.press(actions[event.key]);
    } else if (steps[event.key] && this.view.scale > 1) {
      this.view.x += steps[event.key][0] * this.width / this.view.scale / 8;
      this.view.y += steps[event.key][1] * this.height / this.view.scale / 8;
      this.apply();
    } else {
      return;
    }
    event.preventDefault();
  }

  press(action) {
    if (action === "in") this.middle(1.5);
    if (action === "out") this.middle(1 / 1.5);
    if (action === "reset") this.reset();
    if (action === "large") this.frame.classList.toggle("large");
    if (action === "small") this.frame.classList.remove("large");
  }
}

for (const frame of document.querySelectorAll(".frame")) new Zoom(frame);
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") document.querySelector(".frame.large")?.classList.remove("large");
});
