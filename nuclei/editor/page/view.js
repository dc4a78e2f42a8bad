"use strict";
// The patch and its outlines as SVG: drawing them, zooming, moving, and what lies under a point.

const SVG = "http://www.w3.org/2000/svg";
export const svg = document.getElementById("view");
const image = document.getElementById("image");
const layer = document.getElementById("nuclei");
const stroke = document.getElementById("stroke");
const corners = document.getElementById("corners");

const view = { x: 0, y: 0, scale: 1, width: 1, height: 1 };
const shown = new Map(); // key -> the group of an outline

function element(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function scoreClass(score) {
  if (score === null) return "s0";
  if (score >= 0.9) return "s4";
  if (score >= 0.7) return "s3";
  return score >= 0.5 ? "s2" : "s1";
}

export function showImage(address, width, height) {
  image.setAttribute("href", address);
  image.setAttribute("width", width);
  image.setAttribute("height", height);
  if (view.width !== width || view.height !== height) Object.assign(view, { width, height });
  whole();
}

export function clear() {
  layer.replaceChildren();
  shown.clear();
  showCorners([]);
}

export function remove(key) {
  shown.get(key)?.remove();
  shown.delete(key);
}

export function draw(nucleus) {
  remove(nucleus.key);
  const d = nucleus.rings.map((ring) => "M" + ring.map((point) => point.join(" ")).join("L") + "Z").join("");
  const group = element("g", { class: scoreClass(nucleus.score), "data-key": nucleus.key });
  group.append(element("path", { class: "under", d }), element("path", { class: "line", d, "fill-rule": "evenodd" }));
  if (nucleus.score !== null) {
    const title = element("title", {});
    title.textContent = "score " + nucleus.score.toFixed(2);
    group.append(title);
  }
  layer.append(group);
  shown.set(nucleus.key, group);
}

export function mark(keys, name) {
  for (const [key, group] of shown) group.classList.toggle(name, keys.includes(key));
}

export function keyUnder(x, y) {
  const group = document.elementFromPoint(x, y)?.closest?.("[data-key]");
  return group ? Number(group.dataset.key) : null;
}

// How often each outline lies under a line of points, px of the patch.
export function keysUnder(points) {
  const counts = new Map();
  for (let number = 1; number < points.length; number++) {
    for (let step = 0; step <= 8; step++) {
      const [x, y] = [0, 1].map((axis) => points[number - 1][axis] + (points[number][axis] - points[number - 1][axis]) * step / 8);
      const place = new DOMPoint(x, y).matrixTransform(svg.getScreenCTM());
      const key = keyUnder(place.x, place.y);
      if (key !== null) counts.set(key, (counts.get(key) || 0) + 1);
    }
  }
  return counts;
}

export function centre(key) {
  const box = shown.get(key)?.getBBox();
  return box ? [box.x + box.width / 2, box.y + box.height / 2] : null;
}

export function at(event) {
  const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
  return [point.x, point.y];
}

function apply() {
  const width = view.width / view.scale, height = view.height / view.scale;
  view.x = Math.max(-width / 2, Math.min(view.x, view.width - width / 2));
  view.y = Math.max(-height / 2, Math.min(view.y, view.height - height / 2));
  svg.setAttribute("viewBox", `${view.x} ${view.y} ${width} ${height}`);
  for (const circle of corners.children) circle.setAttribute("r", radius());
}

export function whole() {
  Object.assign(view, { x: 0, y: 0, scale: 1 });
  apply();
}

export function zoom(factor, point) {
  const [x, y] = point || [view.x + view.width / view.scale / 2, view.y + view.height / view.scale / 2];
  const before = view.scale;
  view.scale = Math.max(1, Math.min(24, before * factor));
  const part = before / view.scale;
  view.x = x - (x - view.x) * part;
  view.y = y - (y - view.y) * part;
  if (view.scale === 1) Object.assign(view, { x: 0, y: 0 });
  apply();
}

export function lookAt(key) {
  const middle = centre(key);
  if (!middle) return;
  view.scale = Math.max(view.scale, 4);
  view.x = middle[0] - view.width / view.scale / 2;
  view.y = middle[1] - view.height / view.scale / 2;
  apply();
}

export function pan(dx, dy) {
  view.x -= dx;
  view.y -= dy;
  apply();
}

export function pixelsPerPixel() {
  return svg.getScreenCTM().a; // of the screen, per px of the patch
}

function radius() {
  return 5 / pixelsPerPixel();
}

export function showStroke(points, cut) {
  stroke.setAttribute("points", points.map((point) => point.join(",")).join(" "));
  stroke.classList.toggle("cut", cut);
}

export function showCorners(points) {
  corners.replaceChildren(...points.map(([cx, cy], number) => element("circle", { cx, cy, r: radius(), "data-corner": number })));
}

export function moveCorner(number, x, y) {
  const circle = corners.children[number];
  circle.setAttribute("cx", x);
  circle.setAttribute("cy", y);
  const points = [...corners.children].map((each) => [each.getAttribute("cx"), each.getAttribute("cy")]);
  showStroke([...points, points[0]], true);
}

export function setContrast(value) {
  image.style.filter = `contrast(${value})`;
}

export function setOutlines(on) {
  layer.classList.toggle("off", !on);
}
