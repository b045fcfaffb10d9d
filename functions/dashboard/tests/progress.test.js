// What the page makes of frames.

import assert from "node:assert/strict";
import { test } from "node:test";

import {
  NOTHING_YET, applyFrame, cooldownSeconds, failedPercent, hasJustEnded, isSyncing, ordersPercent, ticketsPercent, waitSeconds,
} from "../assets/progress.js";

let seq = 0;
const frame = (event, data, runId = "a") => ({ event, seq: ++seq, runId, data });
const status = (data, runId) => frame("sync_status", { status: "Syncing", syncInProgress: true, totalOrders: 10, ...data }, runId);
const progress = (data, runId) => frame("sync_progress", { status: "Syncing Orders", syncInProgress: true, totalOrders: 10, ...data }, runId);
const tickets = (data, runId) => frame("sync_ticket_progress", { status: "Syncing Orders", ...data }, runId);
const after = (frames, now = 0) => frames.reduce((state, frame) => applyFrame(state, frame, now), NOTHING_YET);

test("frames are applied in their order and once", () => {
  const [first, late, last] = [progress({ syncedOrders: 2 }), progress({ syncedOrders: 4 }), progress({ syncedOrders: 6 })];
  const state = after([first, last, late, last]);
  assert.deepEqual([state.syncedOrders, state.seq, ordersPercent(state)], [6, last.seq, 60]);
  assert.equal(applyFrame(state, last, 9_000), state);
});

test("a new run starts from nothing", () => {
  const state = after([progress({ syncedOrders: 6, etaSeconds: 9, waitSeconds: 3 }), progress({ totalOrders: 0 }, "b")]);
  assert.deepEqual([state.runId, state.syncedOrders, ordersPercent(state), state.eta.ends, state.waitEnds], ["b", 0, null, null, null]);
});

test("an error, or whatever has no number, says nothing of a run", () => {
  for (const code of ["session_ended", "database_unavailable", "one_of_a_later_version"]) {
    assert.equal(after([{ event: "error", data: { error: "Words for a person", code } }]), NOTHING_YET, code);
  }
});

test("only sync_status names a run's state", () => {
  const syncing = after([status({})]);
  for (const later of [progress({ status: "Syncing Orders" }), tickets({ status: "Syncing Orders" }), progress({ status: "Delay" })]) {
    assert.equal(applyFrame(syncing, later, 0).status, "Syncing");
  }
  const end = progress({ status: "Delay", syncInProgress: false });
  assert.equal(applyFrame(syncing, end, 0).status, "Syncing", "the end is told by the status that follows");
  assert.equal(after([status({}), status({ status: "Delay", syncInProgress: false, delay_in_sec: 30 })]).status, "Delay");
});

test("progress alone tells that a run goes on, and tickets alone of a run that is new here are left to the next frame", () => {
  assert.equal(isSyncing(after([progress({})])), true);
  const before = after([status({ status: "Completed", syncInProgress: false })]);
  assert.equal(applyFrame(before, tickets({ totalTicketsChecked: 3 }, "b"), 0), before);
});

test("the answer of the API is a status", () => {
  const state = applyFrame(NOTHING_YET, { data: { status: "Syncing", seq: ++seq, runId: "a", totalOrders: 10, syncedOrders: 5 } }, 0);
  assert.deepEqual([state.status, ordersPercent(state)], ["Syncing", 50]);
});

test("whoever joins in the middle has everything from the first snapshot", () => {
  const joined = status({ syncedOrders: 5, totalTickets: 20, totalTicketsChecked: 20, ordersPerSecond: 8.4, etaSeconds: 12 });
  const state = after([joined], 1_000);
  assert.deepEqual([ticketsPercent(state), state.ordersPerSecond, state.eta.ends], [50, 8.4, 13_000]);
});

test("the ticket bar never goes back and ends full", () => {
  const half = [progress({ syncedOrders: 5, totalTickets: 15 }), tickets({ totalTicketsChecked: 15 })];
  assert.equal(ticketsPercent(after(half)), 50);
  // More orders turn out to be there.
  const behind = [...half, progress({ totalOrders: 20, syncedOrders: 6, totalTickets: 40 })];
  assert.equal(ticketsPercent(after(behind)), 50);
  const end = status({ status: "Delay", syncedOrders: 10, totalTickets: 40, delay_in_sec: 30 });
  assert.equal(ticketsPercent(after([...behind, end])), 100);
});

test("tickets of unchanged orders are right without a look at them", () => {
  const state = after([progress({ syncedOrders: 9, unchangedOrders: 9, totalTickets: 40 })]);
  assert.equal(ticketsPercent(state), 90);
});

test("a run began by the server's clock, told in whole seconds and late", () => {
  assert.deepEqual([after([status({ elapsedSeconds: 0 })], 5_000).begunAt, after([status({ elapsedSeconds: null })], 5_000).begunAt], [5_000, null]);
  const first = after([status({ elapsedSeconds: 60 })], 100_000);
  assert.equal(first.begunAt, 40_000);
  assert.equal(applyFrame(first, progress({ elapsedSeconds: 61 }), 101_900).begunAt, 40_000, "a late answer");
  assert.equal(applyFrame(first, progress({ elapsedSeconds: 63 }), 102_000).begunAt, 39_000);
  assert.equal(applyFrame(first, tickets({}), 102_000).begunAt, 40_000);
  assert.equal(applyFrame(first, status({ elapsedSeconds: 2 }, "b"), 102_000).begunAt, 100_000, "another run");
});

test("a cancelled run shows what was done", () => {
  const cancelled = { status: "Cancelled", syncInProgress: false, totalOrders: 98, syncedOrders: 0, notAttemptedOrders: 98 };
  const state = after([status(cancelled)]);
  assert.deepEqual([ordersPercent(state), ticketsPercent(state)], [0, 0]);
  const part = after([status({ ...cancelled, syncedOrders: 49, notAttemptedOrders: 49, totalTickets: 8, totalTicketsChecked: 8 })]);
  assert.deepEqual([ordersPercent(part), ticketsPercent(part)], [50, 50]);
  assert.deepEqual([part.ordersPerSecond, part.eta.ends], [null, null]);
});

test("what failed isn't counted as in step", () => {
  const state = after([status({ status: "Completed", syncedOrders: 8, failedOrders: 2 })]);
  assert.deepEqual([ordersPercent(state), failedPercent(state)], [80, 20]);
});

test("a wait counts down by this browser's clock, and is over when a frame doesn't tell of it", () => {
  const waiting = after([status({ waitSeconds: 6 })], 1_000);
  assert.deepEqual([1_000, 1_100, 3_500, 7_000, 9_000].map((now) => waitSeconds(waiting, now)), [6, 6, 4, 0, 0]);
  assert.equal(waitSeconds(applyFrame(waiting, tickets({}), 2_000), 2_000), 5, "tickets say nothing of it");
  assert.equal(waitSeconds(applyFrame(waiting, progress({}), 2_000), 2_000), 0);
  assert.equal(waitSeconds(applyFrame(waiting, progress({ waitSeconds: null }), 2_000), 2_000), 0);
});

test("the cool-down is counted from when it was told", () => {
  const state = after([status({ status: "Delay", delay_in_sec: 30 })], 5_000);
  assert.deepEqual([5_000, 34_500, 40_000].map((now) => cooldownSeconds(state, now)), [30, 1, 0]);
  const [completed, untold] = [after([status({ status: "Completed" })]), after([status({ status: "Delay" })])];
  assert.deepEqual([cooldownSeconds(completed, 0), cooldownSeconds(untold, 0)], [0, null]);
});

test("an end is told once, to whoever saw the run or its start", () => {
  const [syncing, idle] = [after([status({})]), after([frame("sync_status", { status: "Idle" }, null)])];
  const done = applyFrame(syncing, status({ status: "Delay", delay_in_sec: 30 }), 0);
  assert.equal(hasJustEnded(syncing, done), true);
  assert.equal(hasJustEnded(done, applyFrame(done, status({ status: "Completed" }), 0)), false);
  assert.equal(hasJustEnded(NOTHING_YET, done), false, "a page that opens later is told by the status");
  assert.equal(hasJustEnded(idle, after([status({ status: "Delay", delay_in_sec: 9 }, "c")])), true, "a run too short to be seen");
  assert.equal(hasJustEnded(idle, after([status({ status: "Completed" }, "c")])), false, "one that ended while nobody listened");
  assert.equal(hasJustEnded(done, applyFrame(done, status({}, "b"), 0)), false);
});
