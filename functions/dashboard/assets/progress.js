// What is known of the current run: a pure function of the frames received. No page, no clock of its own.

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
  etaSeconds: null,
  error: null,
  cooldownEnds: null,
  cooldownLength: 0,
  ticketsPercent: 0,
};

export const NOTHING_YET = { ...NEW_RUN, seq: -1 };

/**
 * The state after a frame. Frames that aren't newer than the last change nothing: they were late, or came twice. Nor do those
 * without a number, which tell nothing of a run: errors.
 * `now` is in milliseconds and only used for the end of the cool-down: `delay_in_sec` is what was left of it when the frame was made.
 */
export function applyFrame(state, frame, now) {
  const data = frame.data ?? {};
  const seq = frame.seq ?? data.seq;
  if (seq === undefined || seq <= state.seq) return state;
  const runId = frame.runId ?? data.runId ?? null;
  const before = runId === state.runId ? state : NEW_RUN;
  const next = { ...before, seq, runId };
  for (const name of Object.keys(NEW_RUN)) {
    if (data[name] !== undefined && data[name] !== null) next[name] = data[name];
  }
  next.runId = runId;
  if (next.status === "Delay" && data.delay_in_sec !== undefined) {
    next.cooldownEnds = now + data.delay_in_sec * 1000;
    next.cooldownLength = Math.max(before.cooldownLength, data.delay_in_sec);
  }
  next.ticketsPercent = Math.max(before.ticketsPercent, ticketsSoFar(next));
  if (next.status !== "Syncing") next.ordersPerSecond = next.etaSeconds = null;
  return next;
}

export const isSyncing = (state) => state.status === "Syncing";

/** What is left of the cool-down, 0 outside of it; `null` when it has begun and its end isn't told yet. */
export function cooldownSeconds(state, now) {
  if (state.status !== "Delay") return 0;
  if (state.cooldownEnds === null) return null;
  return Math.max(0, Math.ceil((state.cooldownEnds - now) / 1000));
}

/** Whole per cent of the orders that have their outcome; `null` while nothing is listed yet. */
export function ordersPercent(state) {
  if (state.status === "Idle") return 0;
  if (state.status === "Delay" || state.status === "Completed") return 100;
  if (state.totalOrders === 0) return isSyncing(state) ? null : 0;
  return percent((state.syncedOrders + state.failedOrders) / state.totalOrders);
}

/** Whole per cent of the tickets, never going back within a run. */
export function ticketsPercent(state) {
  const orders = ordersPercent(state);
  return isSyncing(state) && orders !== null ? state.ticketsPercent : orders;
}

/** How many tickets there will be is known only at the end: the checked part of those met so far stands for their orders. */
function ticketsSoFar(state) {
  const checked = state.totalTickets === 0 ? 1 : Math.min(1, state.totalTicketsChecked / state.totalTickets);
  return percent(((ordersPercent(state) ?? 0) / 100) * checked);
}

const percent = (part) => Math.max(0, Math.min(100, Math.floor(part * 100)));
