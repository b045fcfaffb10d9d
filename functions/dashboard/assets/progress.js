// What is known of the current run: a pure function of the frames received. No page, no clock of its own.

import { NO_ETA, aim } from "./eta.js";

const NEW_RUN = {
  runId: null,
  kind: null,
  status: "Idle",
  startTime: null,
  endTime: null,
  totalOrders: 0,
  listedOrders: 0,
  syncedOrders: 0,
  failedOrders: 0,
  notAttemptedOrders: 0,
  skippedOrders: 0,
  unchangedOrders: 0,
  totalTickets: 0,
  totalTicketsChecked: 0,
  totalTicketTypes: 0,
  ticketsAdded: 0,
  ticketsCancelled: 0,
  ordersPerSecond: null,
  error: null,
};

/** What isn't taken from frames as it is. */
const DERIVED = { eta: NO_ETA, waitEnds: null, waitLength: 0, cooldownEnds: null, cooldownLength: 0, ticketsPercent: 0, begunAt: null };

export const NOTHING_YET = { ...NEW_RUN, ...DERIVED, seq: -1 };

/**
 * The state after a frame. Frames that aren't newer than the last change nothing: they were late, or came twice. Nor do those
 * without a number, which tell nothing of a run: errors.
 * `now` is in milliseconds of this browser's clock. Servers tell seconds that are left, since clocks differ.
 */
export function applyFrame(state, frame, now) {
  const { event = "sync_status", data = {} } = frame;
  const seq = frame.seq ?? data.seq;
  if (seq === undefined || seq <= state.seq) return state;
  const runId = frame.runId ?? data.runId ?? null;
  const isNew = runId !== state.runId;
  const status = statusAfter(isNew ? null : state.status, event, data);
  // Of a run that is new here, tickets alone tell too little: another frame follows at once.
  if (status === null) return state;
  const next = { ...(isNew ? { ...NEW_RUN, ...DERIVED } : state), seq };
  for (const name of Object.keys(NEW_RUN)) {
    if (data[name] !== undefined && data[name] !== null) next[name] = data[name];
  }
  Object.assign(next, { runId, status });
  if (next.status === "Delay" && data.delay_in_sec !== undefined) {
    next.cooldownEnds = now + data.delay_in_sec * 1000;
    next.cooldownLength = Math.max(next.cooldownLength, data.delay_in_sec);
  }
  next.ticketsPercent = Math.max(next.ticketsPercent, ticketsSoFar(next));
  return event === "sync_status" || event === "sync_progress" ? withTimes(next, data, now) : next;
}

/** Only `sync_status` names a run's state; progress says "Syncing Orders", and whether the sync goes on. `null`: unknown. */
function statusAfter(before, event, data) {
  if (event === "sync_status") return data.status ?? before;
  return event === "sync_progress" && data.syncInProgress ? "Syncing" : before;
}

/** Both of them tell all that is to be waited for: what they leave out is over. */
function withTimes(next, data, now) {
  if (!isSyncing(next)) return { ...next, ordersPerSecond: null, eta: NO_ETA, waitEnds: null, waitLength: 0 };
  const wait = data.waitSeconds > 0 ? data.waitSeconds : null;
  // Seconds are whole, and answers take their time: the longest is the truest.
  const begunAt = Number.isFinite(data.elapsedSeconds) ? now - data.elapsedSeconds * 1000 : null;
  return {
    ...next,
    begunAt: begunAt === null ? next.begunAt : Math.min(begunAt, next.begunAt ?? begunAt),
    eta: data.etaSeconds === undefined ? next.eta : aim(next.eta, data.etaSeconds, now),
    waitEnds: wait && now + wait * 1000,
    waitLength: wait ? Math.max(next.waitLength, wait) : 0,
  };
}

export const isSyncing = (state) => state.status === "Syncing";

/** Ended before every order had its turn. */
export const isBrokenOff = (state) => state.status === "Cancelled" || state.status === "Error";

export const doneOrders = (state) => state.syncedOrders + state.failedOrders;

/** Whether a run that was seen to go on is over now, or one that was too short to be seen has just ended: it still cools down. */
export function hasJustEnded(before, after) {
  if (before.seq < 0 || after.runId === null || isSyncing(after)) return false;
  return after.runId === before.runId ? isSyncing(before) : after.status === "Delay";
}

/** What is left of the cool-down, 0 outside of it; `null` when it has begun and its end isn't told yet. */
export function cooldownSeconds(state, now) {
  if (state.status !== "Delay") return 0;
  if (state.cooldownEnds === null) return null;
  return secondsUntil(state.cooldownEnds, now);
}

/** For so long GoHighLevel's limit lets nothing through; 0 when something can be fetched. */
export const waitSeconds = (state, now) => (state.waitEnds === null ? 0 : secondsUntil(state.waitEnds, now));

const secondsUntil = (end, now) => Math.max(0, Math.ceil((end - now) / 1000));

/** Whole per cent of the orders that are in step; `null` while nothing is listed yet. */
export function ordersPercent(state) {
  if (state.status === "Idle") return 0;
  if (state.totalOrders === 0) return isSyncing(state) ? null : isBrokenOff(state) ? 0 : 100;
  return percent(state.syncedOrders / state.totalOrders);
}

/** Per cent of the orders that failed, for the rest of the bar. */
export const failedPercent = (state) => (state.totalOrders === 0 ? 0 : Math.min(100, (state.failedOrders / state.totalOrders) * 100));

/** Whole per cent of the tickets, never going back within a run. */
export function ticketsPercent(state) {
  if (state.status === "Delay" || state.status === "Completed") return 100;
  return isSyncing(state) && state.totalOrders === 0 ? null : state.ticketsPercent;
}

/**
 * How many tickets there will be is known only at the end, so the orders that are done stand for them: an order is synced when its
 * tickets are right, and one that failed leaves them as they are. Not tickets checked: those of unchanged orders needn't be.
 */
const ticketsSoFar = (state) => (state.totalOrders === 0 ? 0 : percent(doneOrders(state) / state.totalOrders));

const percent = (part) => Math.max(0, Math.min(100, Math.floor(part * 100)));
