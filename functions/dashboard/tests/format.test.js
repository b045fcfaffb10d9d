// Numbers and times in words.

import assert from "node:assert/strict";
import { test } from "node:test";

import { bars, pictured } from "../assets/bars.js";
import { ago, brokenOff, duration, exactly, money, plural, rate } from "../assets/format.js";

test("times are told from now on", () => {
  const now = Date.parse("2026-11-29T12:00:00Z");
  const told = [0, 59, 60, 200, 3_600, 86_400, 3 * 86_400, 61 * 86_400].map((s) => ago(new Date(now - s * 1_000).toISOString(), now));
  assert.deepEqual(told, ["just now", "just now", "1 minute ago", "3 minutes ago", "1 hour ago", "yesterday", "3 days ago", "2 months ago"]);
  assert.equal(ago(new Date(now + 90_000).toISOString(), now), "just now", "a clock that is behind");
  assert.deepEqual([ago(null, now), ago("never", now), exactly("never")], ["–", "–", "–"]);
});

test("a run that broke off says what it did and what it left", () => {
  const left = (syncedOrders, failedOrders, totalOrders) =>
    brokenOff({ syncedOrders, failedOrders, totalOrders, notAttemptedOrders: totalOrders - syncedOrders - failedOrders });
  assert.equal(left(0, 0, 98), "0 of 98 orders were synced; 98 weren't attempted.");
  assert.equal(left(40, 2, 98), "40 of 98 orders were synced; 2 failed; 56 weren't attempted.");
  assert.equal(left(0, 0, 1), "0 of 1 order was synced; 1 wasn't attempted.");
  assert.equal(left(0, 0, 0), "No order was synced.");
});

test("numbers have their form", () => {
  assert.deepEqual([plural(1, "order"), plural(1234, "order")], ["1 order", "1,234 orders"]);
  assert.deepEqual([duration(7), duration(750), duration(11_100), duration(NaN)], ["0:07", "12:30", "3:05:00", "–"]);
  assert.deepEqual([rate(8.43), rate(0), rate(null)], ["8.4/s", "–", "–"]);
  assert.deepEqual([money("12.50", "USD"), money(3, null), money(null, null)], ["12.50 USD", "3", "–"]);
});

test("the picture has the runs that did something, the oldest first", () => {
  const run = (runId, status, endTime = "2026-11-29T12:00:00Z") => ({ runId, status, endTime });
  const runs = [run(5, "Syncing", null), run(4, "Skipped"), run(3, "Completed"), run(2, "Cancelled"), run(1, "Error")];
  assert.deepEqual(pictured(runs).map(({ runId }) => runId), [1, 2, 3]);
  assert.equal(pictured(Array.from({ length: 99 }, (_, at) => run(at, "Completed"))).length, 30);
});

test("bars fit their row, and a little is seen beside much", () => {
  const drawn = bars([0, 1, 10_000], 300, 50);
  assert.deepEqual(drawn.map(({ height }) => height), [0, 2, 50]);
  assert.ok(drawn.every(({ x, width }) => x >= 0 && x + width <= 300));
  assert.deepEqual(bars([0, 0], 100, 50).map(({ height }) => height), [0, 0]);
});
