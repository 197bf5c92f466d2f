#include "preload/launcher/simulation_page.h"

namespace pm {
namespace {

constexpr char kMark[] = "@DATA@";

// The charts are drawn on canvases by a hundred lines of its own: the command has no script library beside it.
constexpr char kPage[] = R"page(<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>poolmalloc simulate</title>
<style>
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #667080; --line: #e3e7ec; --paper: #fff; --ground: #f5f6f8; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ee; --soft: #98a2b0; --line: #30363f; --paper: #1b1f25; --ground: #13161a; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1240px; margin: 0 auto; padding: 32px 20px 60px; }
h1 { font-size: 26px; margin: 0 0 4px; }
h2 { font-size: 19px; margin: 40px 0 6px; }
p { margin: 0 0 14px; color: var(--soft); max-width: 90ch; }
.card { background: var(--paper); border: 1px solid var(--line); border-radius: 10px; padding: 16px; margin-bottom: 16px; overflow-x: auto; }
canvas { display: block; width: 100%; cursor: crosshair; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 13px; }
th, td { padding: 4px 10px; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 500; }
th:first-child, td:first-child { text-align: left; }
tr:last-child td { border-bottom: 0; }
.key { display: inline-block; margin-right: 16px; font-size: 13px; }
.key i { display: inline-block; width: 10px; height: 10px; border-radius: 5px; margin-right: 6px; }
.read { min-height: 1.5em; font-size: 13px; font-variant-numeric: tabular-nums; }
</style>
</head>
<body>
<main id="page"></main>
<script id="data" type="application/json">@DATA@</script>
<script>
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const page = document.getElementById("page");
const colours = {used: "#e03170", resident: "#2b83e0", band: "rgba(240, 140, 0, 0.22)", limit: "#c92a2a"};
const reasons = ["#37a34a", "#10a0a8", "#f08c00", "#e8590c", "#c92a2a", "#8a94a3", "#9a4fd0", "#5560d8"];
const levels = ["rgba(55,163,74,.25)", "rgba(240,200,0,.45)", "rgba(240,140,0,.6)", "rgba(224,60,40,.75)", "rgba(160,0,0,.95)"];
const MiB = 1048576;
// The places in a moment: see Moment in simulation.h.
const T = 0, USED = 1, RESIDENT = 2, LIMIT = 3, LOW = 4, HIGH = 5, LEVEL = 6, RELEASED = 7;

function add(parent, tag, properties = {}, text = "") {
  const element = Object.assign(document.createElement(tag), properties);
  if (text !== "") element.textContent = text;
  parent.append(element);
  return element;
}
const number = (value, digits = 2) => value.toLocaleString("en", {minimumFractionDigits: digits, maximumFractionDigits: digits});

function key(parent, colour, text) {
  const place = add(parent, "span", {className: "key"});
  add(place, "i").style.background = colour;
  place.append(text);
}

function table(parent, run) {
  const body = add(add(parent, "table"), "tbody");
  const head = add(body, "tr");
  ["policy", "cost s", "× oracle", "hold s", "first touch s", "refault s", "decommit s", "RSS/used", "over the limit s"].forEach((text) => add(head, "th", {}, text));
  for (const p of run.policies) {
    const tr = add(body, "tr");
    add(tr, "td", {}, p.policy);
    [[p.cost_seconds, 3], [p.over_oracle, 2], [p.hold_seconds, 3], [p.first_touch_seconds, 3], [p.refault_seconds, 3], [p.decommit_seconds, 3],
      [p.policy === "oracle" ? null : p.resident_to_used, 2], [p.over_limit_seconds, 1]].forEach(([value, digits]) => add(tr, "td", {}, value === null ? "–" : number(value, digits)));
  }
}

// Two canvases over the same time: memory, and what was given back and why. Drag to look closer, double click for all of it.
function charts(parent, run) {
  const all = run.moments, end = all[all.length - 1][T], start = all[0][T];
  const view = {from: start, to: end > start ? end : start + 1, drag: null, at: null};
  const memory = add(parent, "canvas"), released = add(parent, "canvas");
  const read = add(parent, "div", {className: "read"});
  const style = getComputedStyle(document.documentElement);
  const ink = style.getPropertyValue("--soft").trim(), line = style.getPropertyValue("--line").trim();
  const left = 64, right = 8, top = 8, bottom = 22;

  function prepare(canvas, height) {
    const width = canvas.clientWidth || 800, ratio = devicePixelRatio || 1;
    canvas.style.height = height + "px";
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    const c = canvas.getContext("2d");
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    c.clearRect(0, 0, width, height);
    c.font = "12px system-ui";
    return {c, width, height, x: (t) => left + (t - view.from) / (view.to - view.from) * (width - left - right)};
  }
  function axes(p, most) {
    const y = (value) => p.height - bottom - value / most * (p.height - top - bottom);
    const step = (span, count) => { const raw = span / count, ten = 10 ** Math.floor(Math.log10(raw)); return [1, 2, 5, 10].map((m) => m * ten).find((s) => s >= raw); };
    p.c.strokeStyle = line; p.c.fillStyle = ink; p.c.lineWidth = 1;
    const dy = step(most / MiB, 5);
    p.c.textAlign = "right";
    for (let v = 0; v <= most / MiB; v += dy) {
      p.c.beginPath(); p.c.moveTo(left, y(v * MiB)); p.c.lineTo(p.width - right, y(v * MiB)); p.c.stroke();
      p.c.fillText(v.toLocaleString("en") + " MiB", left - 6, y(v * MiB) + 4);
    }
    p.c.textAlign = "center";
    const dx = step(view.to - view.from, 8);
    for (let v = Math.ceil(view.from / dx) * dx; v <= view.to; v += dx) p.c.fillText(Number(v.toFixed(3)) + " s", p.x(v), p.height - 6);
    return y;
  }
  function path(p, points, value, y) {
    p.c.beginPath();
    let before = null;
    for (const m of points) {
      if (value(m) === null) { before = null; continue; }
      if (before === null) p.c.moveTo(p.x(m[T]), y(value(m))); else { p.c.lineTo(p.x(m[T]), y(before)); p.c.lineTo(p.x(m[T]), y(value(m))); }
      before = value(m);
    }
  }
  function draw() {
    const first = Math.max(0, all.findIndex((m) => m[T] >= view.from - run.horizon - 1));
    const shown = all.slice(first).filter((m) => m[T] <= view.to);
    const inside = shown.filter((m) => m[T] >= view.from);
    if (inside.length === 0) return;
    let p = prepare(memory, 330);
    const limits = inside.filter((m) => m[LIMIT] !== null).map((m) => m[LIMIT]);
    let most = 1;
    for (const m of inside) most = Math.max(most, m[USED], m[RESIDENT]);
    const limit = limits.length > 0 ? Math.min(...limits) : null;
    if (limit !== null && limit < 4 * most) most = Math.max(most, limit);
    most *= 1.06;
    p.c.save(); p.c.beginPath(); p.c.rect(left, 0, p.width - left - right, p.height); p.c.clip();
    inside.forEach((m, i) => {
      p.c.fillStyle = levels[m[LEVEL]];
      const until = i + 1 < inside.length ? inside[i + 1][T] : view.to;
      p.c.fillRect(p.x(m[T]), p.height - bottom - 4, Math.max(1, p.x(until) - p.x(m[T])), 4);
    });
    p.c.restore();
    const y = axes(p, most);
    p.c.save(); p.c.beginPath(); p.c.rect(left, 0, p.width - left - right, p.height - bottom); p.c.clip();
    p.c.fillStyle = colours.band;
    p.c.beginPath();
    shown.forEach((m, i) => p.c[i === 0 ? "moveTo" : "lineTo"](p.x(m[T] + run.horizon), y(Math.min(m[HIGH], 2 * most))));
    for (let i = shown.length - 1; i >= 0; --i) p.c.lineTo(p.x(shown[i][T] + run.horizon), y(Math.min(shown[i][LOW], 2 * most)));
    p.c.fill();
    p.c.lineWidth = 1.5;
    for (const [place, colour] of [[LIMIT, colours.limit], [RESIDENT, colours.resident], [USED, colours.used]]) {
      p.c.strokeStyle = colour; path(p, inside, (m) => m[place], y); p.c.stroke();
    }
    if (view.drag !== null && view.at !== null) { p.c.fillStyle = "rgba(120,140,160,.25)"; p.c.fillRect(p.x(view.drag), 0, p.x(view.at) - p.x(view.drag), p.height); }
    p.c.restore();

    p = prepare(released, 150);
    const columns = Math.max(50, Math.floor((p.width - left - right) / 3));
    const sums = Array.from({length: columns}, () => new Array(data.reasons.length).fill(0));
    for (const m of inside) {
      const column = Math.min(columns - 1, Math.floor((m[T] - view.from) / (view.to - view.from) * columns));
      m[RELEASED].forEach((bytes, i) => { sums[column][i] += bytes; });
    }
    const tallest = Math.max(MiB, ...sums.map((s) => s.reduce((a, b) => a + b, 0)));
    const h = axes(p, tallest * 1.06);
    sums.forEach((s, i) => {
      let base = 0;
      s.forEach((bytes, k) => {
        if (bytes === 0) return;
        p.c.fillStyle = reasons[k];
        const x = left + i * (p.width - left - right) / columns;
        p.c.fillRect(x, h(base + bytes), 2, Math.max(1, h(base) - h(base + bytes)));
        base += bytes;
      });
    });
  }
  const time = (event) => { const box = memory.getBoundingClientRect(); return view.from + (event.clientX - box.left - left) / (box.width - left - right) * (view.to - view.from); };
  for (const canvas of [memory, released]) {
    canvas.addEventListener("mousedown", (event) => { view.drag = time(event); });
    canvas.addEventListener("dblclick", () => { view.from = start; view.to = end > start ? end : start + 1; draw(); });
    canvas.addEventListener("mousemove", (event) => {
      view.at = time(event);
      let low = 0, high = all.length - 1;
      while (low < high) { const middle = (low + high + 1) >> 1; if (all[middle][T] <= view.at) low = middle; else high = middle - 1; }
      const m = all[low];
      const gone = m[RELEASED].map((bytes, i) => (bytes > 0 ? `${number(bytes / MiB, 1)} MiB given back (${data.reasons[i]})` : "")).filter(Boolean).join(", ");
      read.textContent = `${number(m[T], 1)} s: used ${number(m[USED] / MiB, 1)} MiB, resident ${number(m[RESIDENT] / MiB, 1)} MiB, ${data.levels[m[LEVEL]]}; in ${run.horizon} s ${number(m[LOW] / MiB, 0)} to ${number(m[HIGH] / MiB, 0)} MiB expected${gone ? "; " + gone : ""}`;
      if (view.drag !== null) draw();
    });
  }
  addEventListener("mouseup", () => {
    if (view.drag !== null && view.at !== null && Math.abs(view.at - view.drag) > (view.to - view.from) / 200) {
      [view.from, view.to] = [Math.max(start, Math.min(view.drag, view.at)), Math.min(end, Math.max(view.drag, view.at))];
    }
    view.drag = null;
    draw();
  });
  new ResizeObserver(draw).observe(parent);
  draw();
}

add(page, "h1", {}, "poolmalloc simulate: " + data.curve);
add(page, "p", {}, "The library's own forecast, levels and plan on a model of memory. Cost is CPU time: touching memory that is not resident, giving it back, and the price of keeping what is not in use. The oracle knows the future. Drag over a chart to look closer, double click for all of it.");
for (const run of data.runs) {
  run.horizon = data.horizon_seconds;
  add(page, "h2", {}, run.text);
  table(add(page, "div", {className: "card"}), run);
  const card = add(page, "div", {className: "card"});
  const keys = add(card, "div");
  key(keys, colours.used, "used");
  key(keys, colours.resident, "resident");
  key(keys, "#f5b04d", `expected ${run.horizon} s before (90 %)`);
  if (run.moments.some((m) => m[LIMIT] !== null)) key(keys, colours.limit, "limit");
  data.reasons.forEach((name, i) => { if (run.released_bytes[name] > 0) key(keys, reasons[i], "given back: " + name.replaceAll("_", " ")); });
  charts(card, run);
}
page.dataset.drawn = data.runs.length;
</script>
</body>
</html>
)page";

}  // namespace

std::string simulation_page(const std::string& data) {
  // Inside a script element, "</" would end it.
  std::string safe;
  safe.reserve(data.size());
  for (const char c : data) {
    if (c == '/' && !safe.empty() && safe.back() == '<') safe += '\\';
    safe += c;
  }
  std::string page = kPage;
  return page.replace(page.find(kMark), sizeof kMark - 1, safe);
}

}  // namespace pm
