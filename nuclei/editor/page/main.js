"use strict";
// The page of the editor: the list of patches, one patch at a time, and the server behind it.
// The server keeps the outlines; every action is on its disk before it answers.

import * as view from "./view.js";
import { Tools } from "./tools.js";

const IDLE = 10; // s without a move of the mouse that count as a pause
const STATES = { "not begun": "", "in work": "work", done: "done" };
const byId = (id) => document.getElementById(id);

let patches = [];
let current = -1;
let patch = null; // {version, undo, redo, ...} as the server described it last
let queue = Promise.resolve();
let sureEmpty = false;
const work = { clicks: 0, seconds: 0, last: 0 };

function say(text, bad = false) {
  const box = byId("message");
  box.textContent = text;
  box.classList.toggle("bad", bad);
  box.hidden = false;
  clearTimeout(say.timer);
  say.timer = setTimeout(() => { box.hidden = true; }, bad ? 8000 : 4000);
}

async function ask(path, content) {
  const options = content === undefined ? {} : {
    method: "POST", body: JSON.stringify(content), headers: { "Content-Type": "application/json" },
  };
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    say("The editor's server has stopped. Nothing is lost: start it again and open its new link.", true);
    return null;
  }
  const type = response.headers.get("Content-Type") || "";
  const answer = type.startsWith("application/json") ? await response.json() : { error: "the server refused that" };
  if (answer.error) {
    say(answer.error, true);
    return null;
  }
  return answer;
}

function cost() {
  const spent = { clicks: work.clicks, seconds: Math.round(work.seconds * 10) / 10 };
  work.clicks = work.seconds = 0;
  return spent;
}

for (const name of ["pointermove", "pointerdown", "keydown", "wheel"]) {
  addEventListener(name, () => {
    const now = performance.now() / 1000;
    if (work.last && now - work.last < IDLE) work.seconds += now - work.last;
    work.last = now;
    if (name === "pointerdown") work.clicks += 1;
  }, { passive: true, capture: true });
}

function showList() {
  const list = byId("list");
  while (list.children.length < patches.length) {
    const item = document.createElement("li");
    const button = document.createElement("button");
    button.append(document.createElement("span"), document.createElement("small"));
    const index = list.children.length;
    button.addEventListener("click", () => open(index));
    item.append(button);
    list.append(item);
  }
  patches.forEach((each, index) => showRow(list.children[index], each, index));
  const done = patches.filter((each) => each.state === "done").length;
  byId("progress").textContent = `${done} of ${patches.length} done`;
}

function showRow(item, each, index) {
  const [name, text] = item.firstChild.children;
  item.className = STATES[each.state];
  item.firstChild.setAttribute("aria-current", String(index === current));
  name.textContent = each.name;
  text.textContent = `${each.state}, ${each.nuclei} outlines`;
}

function showPatch(answer) {
  if (answer.all) view.clear();
  answer.removed.forEach(view.remove);
  answer.added.forEach(view.draw);
  patch = answer;
  byId("undo").disabled = !answer.undo;
  byId("redo").disabled = !answer.redo;
  byId("count").textContent = `${answer.count} outlines, ${answer.state}`;
  byId("score-box").hidden = byId("legend").hidden = !answer.scored;
  byId("score").value = answer.threshold;
  byId("score-text").textContent = Number(answer.threshold).toFixed(2);
  const before = patches[current];
  Object.assign(before, { nuclei: answer.count });
  if (before.state !== answer.state) {
    before.state = answer.state;
    showList();
  } else {
    showRow(byId("list").children[current], before, current);
  }
}

async function open(index) {
  if (index < 0 || index >= patches.length) return;
  await queue;
  current = index;
  patch = null;
  sureEmpty = false;
  view.clear();
  tools.pick(null);
  showPlaces([]);
  showList();
  byId("list").children[index].scrollIntoView({ block: "nearest", inline: "nearest" });
  byId("name").textContent = patches[index].name;
  byId("count").textContent = "";
  byId("previous").disabled = index === 0;
  byId("next").disabled = index === patches.length - 1;
  document.title = patches[index].name;
  await load(index);
}

async function load(index, again = false) {
  const answer = await ask(`api/patch/${index}`);
  if (index !== current || !answer) return;
  view.svg.classList.toggle("waiting", Boolean(answer.waiting));
  if (!again) view.showImage(`api/patch/${index}/image`, ...answer.size);
  if (answer.waiting) {
    byId("count").textContent = answer.waiting + " ...";
    setTimeout(() => { if (index === current) load(index, true); }, 700);
    return;
  }
  showPatch(answer);
  view.svg.focus({ preventScroll: true });
}

// One action at a time, in the order in which they came.
function act(action) {
  queue = queue.then(async () => {
    if (!patch) return;
    const index = current;
    const answer = await ask(`api/patch/${index}`, { ...action, version: patch.version, ...cost() });
    if (index !== current) return;
    if (answer) {
      sureEmpty = false;
      showPatch(answer);
    } else {
      await reload(); // another window may have changed the patch
    }
  });
  return queue;
}

async function reload() {
  const index = current;
  const answer = await ask(`api/patch/${index}`);
  if (index === current && answer && !answer.waiting && (!patch || answer.version !== patch.version)) showPatch(answer);
}

function showPlaces(places) {
  const box = byId("places");
  box.hidden = !places.length;
  view.mark(places.map((place) => place.key), "flag");
  box.querySelector("ul").replaceChildren(...places.map((place) => {
    const item = document.createElement("li");
    const button = document.createElement("button");
    button.textContent = place.text;
    button.addEventListener("click", () => view.lookAt(place.key));
    item.append(button);
    return item;
  }));
}

async function done() {
  await queue;
  if (!patch) return;
  const index = current;
  const answer = await ask(`api/patch/${index}/done`, { ...cost(), empty: sureEmpty });
  if (!answer) return;
  patches[index].state = answer.state;
  showList();
  showPlaces(answer.concerns);
  if (answer.refused) {
    sureEmpty = patch.count === 0;
    say(answer.refused, true);
    return;
  }
  const count = `${answer.nuclei} nuclei imported.`;
  byId("count").textContent = `${answer.nuclei} outlines, done`;
  const next = patches.findIndex((each) => each.state !== "done");
  if (answer.concerns.length || answer.notes.length) say(`${count} ${answer.notes.join("; ")}`);
  else if (next < 0) say(`${count} All patches are done: go on with python main_train.py`);
  else {
    say(count);
    open(next);
  }
}

const tools = new Tools({
  act, say,
  handles: async (key) => (await ask(`api/patch/${current}/handles/${key}`))?.handles,
});

function changeScore(by) {
  if (!patch?.scored) return;
  const score = Math.max(0, Math.min(1, Math.round((Number(patch.threshold) + by) * 20) / 20));
  act({ do: "show_from", score });
}

function changeContrast() {
  const box = byId("contrast");
  box.value = { 1: 1.4, 1.4: 1.8 }[box.value] || 1;
  view.setContrast(box.value);
}

const toggle = () => { byId("outlines").checked = !byId("outlines").checked; tools.show(byId("outlines").checked); };
const undo = () => { tools.pick(null); return act({ do: "undo" }); };
const redo = () => { tools.pick(null); return act({ do: "redo" }); };
const KEYS = {
  1: () => tools.use("correct"), 2: () => tools.use("corners"), 3: () => tools.use("split"), 4: () => tools.use("merge"),
  g: () => tools.grow(true), s: () => tools.grow(false), z: undo, y: redo, Z: redo, o: toggle, c: changeContrast,
  "[": () => changeScore(-0.05), "]": () => changeScore(0.05),
  "+": () => view.zoom(1.5), "=": () => view.zoom(1.5), "-": () => view.zoom(1 / 1.5), 0: view.whole,
  n: () => open(current + 1), p: () => open(current - 1), ArrowRight: () => open(current + 1), ArrowLeft: () => open(current - 1),
  Enter: done, "?": () => byId("keys").showModal(), Escape: () => { tools.cancel(); tools.pick(null); },
};

addEventListener("keydown", (event) => {
  const typing = event.target.closest("input[type=range], dialog") || (event.key === "Enter" && event.target.closest("button"));
  if (event.key === " " && !event.target.closest("button, input")) {
    tools.space = true;
    view.svg.classList.add("pan");
    event.preventDefault();
  }
  const lower = event.key.length === 1 && !event.shiftKey ? event.key.toLowerCase() : event.key;
  const name = "NPOCYGS".includes(lower) ? lower.toLowerCase() : lower;
  const isPlain = !event.ctrlKey && !event.metaKey && !event.altKey;
  const isUndo = (event.ctrlKey || event.metaKey) && ["z", "Z", "y"].includes(name);
  if (typing || !KEYS[name] || !(isPlain || isUndo)) return;
  event.preventDefault();
  KEYS[name]();
});
addEventListener("keyup", (event) => {
  if (event.key !== " ") return;
  tools.space = false;
  view.svg.classList.remove("pan");
});

const clicks = {
  previous: () => open(current - 1), next: () => open(current + 1), undo, redo, done,
  larger: () => view.zoom(1.5), smaller: () => view.zoom(1 / 1.5), whole: view.whole, help: KEYS["?"],
};
for (const [id, action] of Object.entries(clicks)) byId(id).addEventListener("click", action);
for (const button of document.querySelectorAll("[data-tool]")) {
  button.addEventListener("click", () => tools.use(button.dataset.tool));
}
byId("score").addEventListener("input", () => { byId("score-text").textContent = Number(byId("score").value).toFixed(2); });
byId("score").addEventListener("change", () => act({ do: "show_from", score: Number(byId("score").value) }));
byId("contrast").addEventListener("input", () => view.setContrast(byId("contrast").value));
byId("outlines").addEventListener("change", () => tools.show(byId("outlines").checked));
byId("places").querySelector(":scope > button").addEventListener("click", () => showPlaces([]));
addEventListener("focus", reload);

const answer = await ask("api/patches");
if (answer) {
  patches = answer.patches;
  showList();
  const first = patches.findIndex((each) => each.state !== "done");
  open(Math.max(first, 0));
}
