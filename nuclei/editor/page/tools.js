"use strict";
// What the mouse does, by tool. `act` sends an action to the server; `say` shows a message.

import * as view from "./view.js";

const SLACK = 5; // px of the screen that a click may move
const STEP = 0.4; // px of the patch between two points of a drawn line

const HINTS = {
  correct: "Click an outline to drop it. Click a nucleus to get an outline. Drag around a nucleus to draw one. G and S grow and shrink.",
  corners: "Click an outline, then drag its corners.",
  split: "Drag a line all the way across an outline.",
  merge: "Drag a line from one outline into another.",
};

export class Tools {
  constructor({ act, say, handles }) {
    Object.assign(this, { act, say, handles });
    this.tool = "correct";
    this.space = false;
    this.picked = null;
    this.isOn = true;
    this.drag = null;
    const { svg } = view;
    svg.addEventListener("pointerdown", (event) => this.down(event));
    svg.addEventListener("pointermove", (event) => this.move(event));
    svg.addEventListener("pointerup", (event) => this.up(event));
    svg.addEventListener("pointercancel", () => this.cancel());
    svg.addEventListener("contextmenu", (event) => event.preventDefault());
    svg.addEventListener("wheel", (event) => {
      event.preventDefault();
      view.zoom(Math.exp(-event.deltaY / 400), view.at(event));
    }, { passive: false });
    this.use("correct");
  }

  use(tool) {
    this.tool = tool;
    this.pick(null);
    for (const button of document.querySelectorAll("[data-tool]")) {
      button.setAttribute("aria-pressed", String(button.dataset.tool === tool));
    }
    document.getElementById("hint").textContent = HINTS[tool];
  }

  show(on) {
    this.isOn = on;
    view.setOutlines(on);
    if (!on) this.pick(null);
  }

  async pick(key) {
    this.picked = key;
    view.mark(key === null ? [] : [key], "picked");
    view.showCorners([]);
    if (key === null) return;
    const points = await this.handles(key);
    if (points && this.picked === key) view.showCorners(points);
  }

  cancel() {
    this.drag = null;
    view.showStroke([], false);
  }

  // Of the outline under the mouse, by a pixel of the patch.
  async grow(outwards) {
    const key = this.isOn && this.at ? view.keyUnder(...this.at) : null;
    if (key === null) return this.say("point at an outline first");
    await this.act({ do: "grow", key, outwards });
    if (this.picked === key) this.pick(key);
  }

  down(event) {
    view.svg.focus({ preventScroll: true });
    const point = view.at(event);
    const pans = event.button === 1 || event.button === 2 || this.space;
    const corner = event.target.dataset?.corner;
    this.drag = {
      pans, points: [point], x: event.clientX, y: event.clientY, moved: false,
      corner: corner === undefined || pans ? null : Number(corner),
      key: view.keyUnder(event.clientX, event.clientY),
    };
    view.svg.setPointerCapture(event.pointerId);
    event.preventDefault();
  }

  move(event) {
    this.at = [event.clientX, event.clientY];
    const { drag } = this;
    if (!drag) return;
    const point = view.at(event);
    drag.moved ||= Math.hypot(event.clientX - drag.x, event.clientY - drag.y) > SLACK;
    if (drag.pans) {
      view.pan(point[0] - drag.points[0][0], point[1] - drag.points[0][1]);
    } else if (drag.corner !== null) {
      view.moveCorner(drag.corner, ...point);
    } else if (drag.moved && this.tool !== "corners") {
      const last = drag.points[drag.points.length - 1];
      if (Math.hypot(point[0] - last[0], point[1] - last[1]) >= STEP) drag.points.push(point);
      view.showStroke(drag.points, this.tool !== "correct");
    }
  }

  up(event) {
    const { drag } = this;
    this.cancel();
    if (!drag || drag.pans) return;
    if (!this.isOn) {
      this.say("the outlines are off; press O");
      return;
    }
    const [x, y] = view.at(event);
    const round = (value) => Math.round(value * 100) / 100;
    const points = [...drag.points, [x, y]].map((point) => point.map(round));
    if (drag.corner !== null) this.moveCorner(drag.corner, round(x), round(y));
    else if (this.tool === "corners") this.pick(drag.key);
    else if (!drag.moved && this.tool !== "correct") this.say(HINTS[this.tool]);
    else if (this.tool === "split") this.split(points);
    else if (this.tool === "merge") this.merge(points);
    else if (drag.moved) this.act({ do: "add", points });
    else if (drag.key !== null) this.act({ do: "drop", key: drag.key });
    else this.act({ do: "propose", x: round(x), y: round(y) });
  }

  async moveCorner(corner, x, y) {
    const key = this.picked;
    await this.act({ do: "move", key, corner, x, y });
    if (this.picked === key) this.pick(key);
  }

  split(points) {
    const counts = view.keysUnder(points);
    if (!counts.size) return this.say(HINTS.split);
    const [key] = [...counts].sort((one, other) => other[1] - one[1])[0];
    return this.act({ do: "split", key, line: points });
  }

  merge(points) {
    const keys = [...view.keysUnder(points).keys()];
    return keys.length < 2 ? this.say(HINTS.merge) : this.act({ do: "merge", keys });
  }
}
