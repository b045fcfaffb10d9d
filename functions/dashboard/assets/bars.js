// What the picture of the last runs shows, in numbers. Nothing here touches the page.

import { count, duration, secondsBetween } from "./format.js";

const MOST_RUNS = 30;
const LARGEST_BAR = 28;

export const MEASURES = [
  { name: "Duration", of: (run) => secondsBetween(run.startTime, run.endTime), inWords: duration, className: "took" },
  { name: "Orders", of: (run) => run.syncedOrders + run.failedOrders, inWords: count, className: "orders" },
  { name: "Failures", of: (run) => run.failedOrders, inWords: count, className: "failed" },
];

/** Runs that did something and are over, the oldest first. */
export const pictured = (runs) =>
  runs.filter((run) => run.endTime && run.status !== "Skipped" && run.status !== "Syncing").slice(0, MOST_RUNS).reverse();

/** Bars of one row: `{x, width, height}`, at least a pixel high where there is something. */
export function bars(values, width, height) {
  const step = width / values.length;
  const thick = Math.min(LARGEST_BAR, step * 0.7);
  const most = Math.max(...values, 1e-9);
  return values.map((value, at) => ({
    x: at * step + (step - thick) / 2,
    width: thick,
    height: value > 0 ? Math.max(2, (value / most) * height) : 0,
  }));
}
