// A picture of the last runs: how long each took, how many orders it had, and how many of them failed. Three rows of bars with
// the same runs under each other, and the same as a table.

import { MEASURES, bars, pictured } from "./bars.js";
import { $, element, moment } from "./elements.js";
import { count, duration, exactly, kind, plural, state as stateInWords } from "./format.js";

const FEWEST_RUNS = 2; // One has nothing to be compared with.
// In pixels: the name above the bars, the bars, and the room below them.
const ROW = { name: 22, bars: 46, below: 12 };
const ROW_HEIGHT = ROW.name + ROW.bars + ROW.below;
const MARKS_HEIGHT = 18;
const MARKS = { Completed: "✓", Cancelled: "–", Error: "!", Delay: "✓" };

let shown = [];
let drawnWidth = 0;
// Drawn in pixels, so that its letters are as large as all others; anew when there is more or less room.
new ResizeObserver(() => $("picture").clientWidth !== drawnWidth && draw()).observe($("picture"));

export function showPicture(runs) {
  const next = pictured(runs);
  if (JSON.stringify(next) === JSON.stringify(shown)) return;
  shown = next;
  $("picture").hidden = shown.length < FEWEST_RUNS;
  if ($("picture").hidden) return;
  const isOpen = $("picture").querySelector("details")?.open ?? false;
  $("picture").replaceChildren(element("div", { className: "drawing" }), asTable(shown, isOpen));
  draw();
}

function draw() {
  const place = $("picture").querySelector(".drawing");
  drawnWidth = $("picture").clientWidth;
  if (place && drawnWidth > 0) place.replaceChildren(drawing(shown, drawnWidth));
}

function drawing(runs, width) {
  const base = MEASURES.length * ROW_HEIGHT;
  const height = base + MARKS_HEIGHT;
  const picture = svg(
    "svg",
    { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-labelledby": "picture-title", "aria-describedby": "picture-text" },
    svg("title", { id: "picture-title" }, `The last ${plural(runs.length, "run")}`),
    svg("desc", { id: "picture-text" }, description(runs)),
  );
  MEASURES.forEach((measure, at) => {
    const top = at * ROW_HEIGHT;
    const ground = top + ROW.name + ROW.bars;
    const values = runs.map(measure.of);
    picture.append(
      svg("text", { x: 0, y: top + 13, class: "name" }, measure.name),
      svg("text", { x: width, y: top + 13, class: "most", "text-anchor": "end" }, `at most ${measure.inWords(Math.max(...values))}`),
      svg("line", { x1: 0, x2: width, y1: ground, y2: ground, class: "ground" }),
      ...bars(values, width, ROW.bars).map(({ x, width: wide, height: high }, nth) =>
        svg("rect", { x, width: wide, height: high, y: ground - high, rx: Math.min(3, high / 2), class: measure.className }),
      ),
    );
  });
  // Over each run from top to bottom, so that pointing at any of its bars tells all of it.
  const step = width / runs.length;
  runs.forEach((run, at) => {
    const middle = { x: (at + 0.5) * step, y: base + 6, "text-anchor": "middle" };
    const mark = svg("text", { ...middle, class: "mark", "data-status": run.status }, MARKS[run.status] ?? "");
    const area = svg("rect", { x: at * step, y: 0, width: step, height, class: "area" }, svg("title", {}, inWords(run)));
    picture.append(mark, area);
  });
  return picture;
}

function inWords(run) {
  const [took, orders] = MEASURES.map(({ of }) => of(run));
  const end = `${stateInWords(run.status)} after ${duration(took)}`;
  return `${kind(run.kind)}, ${exactly(run.startTime)}: ${end}, ${plural(orders, "order")}, ${count(run.failedOrders)} failed`;
}

function description(runs) {
  const failing = runs.filter((run) => run.failedOrders > 0).length;
  const broken = runs.filter((run) => run.status === "Error" || run.status === "Cancelled").length;
  const told = `Orders failed in ${plural(failing, "run")}; ${plural(broken, "run")} ended early.`;
  return `Bars of duration, orders and failures, the newest run on the right. ${told} The table below has the numbers.`;
}

function asTable(runs, isOpen) {
  const names = ["Started", "Kind", "State", "Took", "Orders", "Failed"];
  const head = element("tr", {}, ...names.map((name) => element("th", { scope: "col" }, name)));
  const row = (run) => {
    const texts = [kind(run.kind), stateInWords(run.status), ...MEASURES.map(({ of, inWords }) => inWords(of(run)))];
    return element("tr", {}, element("th", { scope: "row" }, moment(run.startTime)), ...texts.map((text) => element("td", {}, text)));
  };
  const table = element("table", {}, element("thead", {}, head), element("tbody", {}, ...[...runs].reverse().map(row)));
  const scroll = element("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": "The last runs as a table" }, table);
  return element("details", { className: "as-table", open: isOpen }, element("summary", {}, "As a table"), scroll);
}

function svg(tag, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}
