// The admin page: who is signed in, what runs, what happened. Each part lives in a module of its own:
//
//   session.js   who is signed in          progress.js  the run, as a function of its frames
//   api.js       calls to the admin API    view.js      draws the progress
//   socket.js    the live connection       lists.js     draws runs and failures, details.js one run

import { Api } from "./api.js";
import { lowerFirst, plural, reason } from "./format.js";
import { refreshOpenRuns, showFailures, showLastRun, showRuns } from "./lists.js";
import { NOTHING_YET, applyFrame, isSyncing } from "./progress.js";
import { Session } from "./session.js";
import { LiveUpdates } from "./socket.js";
import { $, block, isBlocked, notice, showConnection, showProblems, showProgress, showSession } from "./view.js";

const FAILURES_EVERY_MS = 2_000;
const ANSWERED_WITHIN_MS = 5_000;
const FAILURES_PER_PAGE = 100;
const MOST_RETRIED = 10_000; // The API takes no more in one call.

const config = await fetch(new URL("assets/config.json", document.baseURI)).then((answer) => answer.json());
const session = new Session(config);
const api = new Api(session, (error) => endSession(error.message));
const live = new LiveUpdates({
  url: config.websocketUrl,
  ticket: async () => ({ ...(await api.ticket()), ends: session.ends }),
  onFrame: take,
  onState: (state) => {
    showConnection(state);
    // Progress goes on without the socket; it only comes less often.
    if (state === "waiting") refreshStatus();
  },
});

let progress = NOTHING_YET;
let starting = false;
let cancelling = null; // The run that was asked to stop, until a frame says that it has.
let runs = { list: [], next: null };
let failures = { list: [], more: false };
let failuresShown = FAILURES_PER_PAGE;
let failuresDue = null;

// --- the session

function enter() {
  showSession(session, config);
  if (!session.signedIn) return;
  live.start();
  refreshStatus();
  refreshLists();
}

function endSession(message) {
  live.stop();
  session.forget();
  progress = NOTHING_YET;
  starting = false;
  cancelling = null;
  [runs, failures] = [{ list: [], next: null }, { list: [], more: false }];
  failuresShown = FAILURES_PER_PAGE;
  showProblems([]);
  showSession(session, config);
  notice(message);
}

$("sign-in-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  await busy($("sign-in-submit"), async () => {
    await session.signIn($("email").value, $("password").value);
    $("password").value = "";
    notice(null);
    enter();
  });
});

$("sign-out").addEventListener("click", () => {
  session.signOut();
  endSession(null);
});

// --- what the server tells

function take(frame) {
  // Whoever asks for the status is told of problems, also when nothing else is new.
  if (frame.event === undefined || frame.event === "sync_status") showProblems(frame.data?.problems ?? []);
  const before = progress;
  progress = applyFrame(progress, frame, Date.now());
  if (progress === before) return;
  if (isSyncing(progress) || progress.runId !== before.runId) starting = false;
  if (!isSyncing(progress) || progress.runId !== cancelling) cancelling = null;
  draw();
  if (progress.status !== before.status && !isSyncing(progress)) refreshLists();
  else if (progress.runId !== before.runId) refreshRuns();
  else if (progress.failedOrders !== before.failedOrders) refreshFailuresSoon();
}

async function refreshStatus() {
  await quietly(async () => take({ data: await api.status() }));
}

function refreshLists() {
  refreshRuns().then(refreshFailures);
}

/** The newest page, and behind it what was read of older ones. */
async function refreshRuns() {
  await quietly(async () => {
    const page = await api.runs();
    const oldest = page.runs.at(-1)?.runId;
    const known = runs.list.findIndex((run) => run.runId === oldest);
    runs = known < 0 ? { list: page.runs, next: page.next } : { list: [...page.runs, ...runs.list.slice(known + 1)], next: runs.next };
    drawRuns();
  });
}

async function showOlderRuns() {
  const before = runs.next;
  const page = await api.runs(before);
  // Somebody else may have read the list anew meanwhile.
  if (runs.next !== before) return;
  runs = { list: [...runs.list, ...page.runs], next: page.next };
  drawRuns();
}

async function refreshFailures() {
  await quietly(async () => {
    failures = await findFailures(failuresShown);
    drawFailures();
  });
}

/** The run whose failures are still of interest: a start that was skipped has none. */
const newestRun = () => runs.list.find((run) => run.status !== "Skipped");
const newestRunId = () => progress.runId ?? newestRun()?.runId;

/** Failures of the newest run that weren't synced since, and those outside any run: an order's latest word, once. */
async function findFailures(wanted) {
  const runId = newestRunId();
  const failed = Math.max(progress.failedOrders, newestRun()?.failedOrders ?? 0);
  const [ofRun, outside] = await Promise.all([
    runId && failed > 0 ? atLeast(wanted, (after) => api.run(runId, "failures", after)) : { list: [], more: false },
    atLeast(wanted, api.failures),
  ]);
  const byOrder = new Map();
  for (const failure of [...outside.list, ...ofRun.list]) {
    const other = byOrder.get(failure.orderId);
    if (!other || other.lastTryAt <= failure.lastTryAt) byOrder.set(failure.orderId, failure);
  }
  return { list: [...byOrder.values()], more: ofRun.more || outside.more };
}

/** Reads page by page until so many orders are found that still fail. */
async function atLeast(wanted, load) {
  const list = [];
  let next;
  do {
    const page = await load(next);
    list.push(...page.failures.filter((failure) => !failure.resolvedAt));
    next = page.next;
  } while (next && list.length < wanted);
  return { list, more: Boolean(next) };
}

function refreshFailuresSoon() {
  failuresDue ??= setTimeout(() => {
    failuresDue = null;
    refreshFailures();
  }, FAILURES_EVERY_MS);
}

// --- what the admin does

/** Asks for a run; its first frame takes over from there. */
async function begin(ask) {
  if (isBlocked($("start-full"))) return;
  notice(null);
  starting = true;
  draw();
  try {
    await ask();
    setTimeout(() => starting && refreshStatus().then(() => ((starting = false), draw())), ANSWERED_WITHIN_MS);
  } catch (error) {
    starting = false;
    draw();
    const wait = error.code === "cooling_down" && error.retryAfter ? ` Try again in ${plural(error.retryAfter, "second")}.` : "";
    notice((error.inWords ?? error.message) + wait);
    if (error.status === 409) refreshStatus();
  }
}

/** One order is synced at once, without a run: no cool-down to wait for. */
async function retry({ orderId }, button) {
  await busy(button, async () => {
    const answer = await api.syncOrder(orderId);
    notice(retried(orderId, answer), "good");
    await refreshFailures();
    refreshOpenRuns();
  });
}

function retried(orderId, { result, message, ...skip }) {
  if (!result) return `Order ${orderId}: ${message}.`;
  return result === "skipped" ? `Order ${orderId} was skipped: ${lowerFirst(reason({ code: skip.reason }))}` : `Order ${orderId} is in step.`;
}

/** A run over every order that still fails, also those not shown yet. */
async function retryAll() {
  await busy($("retry-all"), async () => {
    const { list, more } = await findFailures(MOST_RETRIED);
    const ids = list.slice(0, MOST_RETRIED).map((failure) => failure.orderId);
    const runId = newestRunId();
    if (ids.length === 0) return refreshFailures();
    if (!runId) return retryOneByOne(list);
    await begin(async () => {
      await api.retry(runId, ids);
      const others = more || ids.length < list.length ? " The others can follow when it is done." : "";
      notice(`Trying ${plural(ids.length, "order")} again.${others}`, "good");
    });
  });
}

/** What the last run broke off before it came to it, and what failed in it. */
const syncRest = () => begin(() => api.retry($("sync-rest").dataset.run));

/** A retry needs a run that it is a retry of; before the first run there is none. */
async function retryOneByOne(list) {
  for (const failure of list) await retry(failure);
}

/** Asks for the end of the run; its next frame tells it. */
async function cancel() {
  const runId = progress.runId;
  cancelling = runId;
  draw();
  try {
    await api.cancel();
    setTimeout(() => cancelling === runId && refreshStatus().then(() => ((cancelling = null), draw())), ANSWERED_WITHIN_MS);
  } catch (error) {
    cancelling = null;
    draw();
    notice(error.inWords ?? error.message);
    if (error.status === 409) refreshStatus();
  }
}

$("start-full").addEventListener("click", () => begin(() => api.start("full")));
$("start-incremental").addEventListener("click", () => begin(() => api.start("incremental")));
$("retry-all").addEventListener("click", retryAll);
$("sync-rest").addEventListener("click", syncRest);
$("notice-close").addEventListener("click", () => notice(null));
$("cancel").addEventListener("click", () => isBlocked($("cancel")) || $("cancel-dialog").showModal());
$("cancel-no").addEventListener("click", () => $("cancel-dialog").close());
$("cancel-yes").addEventListener("click", () => {
  $("cancel-dialog").close();
  cancel();
});
$("older").addEventListener("click", () => busy($("older"), showOlderRuns));
$("more-failures").addEventListener("click", () =>
  busy($("more-failures"), () => {
    failuresShown += FAILURES_PER_PAGE;
    return refreshFailures();
  }),
);

/** One click, one call: the button rests while it runs, and a failure is told. */
async function busy(button, action) {
  if (button && isBlocked(button)) return;
  if (button) block(button, "One moment…");
  try {
    await action();
  } catch (error) {
    notice(error.inWords ?? error.message);
  } finally {
    if (button) block(button, null);
    draw();
  }
}

/** For calls nobody asked for: lists keep what they had; a lost session has been told by then. */
async function quietly(action) {
  try {
    await action();
  } catch (error) {
    if (error.status === undefined) throw error;
    if (error.status !== 401 && error.status !== 0) notice(error.inWords);
  }
}

// --- drawing

const mayNot = () => (session.isMember ? "This needs an admin account." : null);

const draw = () => showProgress(progress, { starting, cancelling: cancelling !== null, mayNot: mayNot(), now: Date.now() });

function drawRuns() {
  showLastRun(runs.list);
  showRuns(runs.list, api.run);
  $("older").hidden = !runs.next;
}

const drawFailures = () => showFailures(failures.list, { more: failures.more, retry, mayNot: mayNot() });

// The countdown and the elapsed time move by themselves.
setInterval(() => session.signedIn && progress !== NOTHING_YET && draw(), 500);
enter();
