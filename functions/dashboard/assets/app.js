// The admin page: who is signed in, what runs, what happened. Each part lives in a module of its own:
//
//   session.js   who is signed in          progress.js  the run, as a function of its frames
//   api.js       calls to the admin API    view.js      draws the progress
//   socket.js    the live connection       lists.js     draws runs and failures

import { Api } from "./api.js";
import { plural } from "./format.js";
import { showFailures, showLastRun, showRuns } from "./lists.js";
import { NOTHING_YET, applyFrame, isSyncing } from "./progress.js";
import { Session } from "./session.js";
import { LiveUpdates } from "./socket.js";
import { $, isBlocked, notice, showConnection, showProgress, showSession } from "./view.js";

const FAILURES_EVERY_MS = 2_000;
const STARTED_WITHIN_MS = 5_000;

const config = await fetch(new URL("assets/config.json", document.baseURI)).then((answer) => answer.json());
const session = new Session(config);
const api = new Api(session, (error) => endSession(error.message));
const live = new LiveUpdates({
  url: config.websocketUrl,
  ticket: api.ticket,
  onFrame: take,
  onState: (state) => {
    showConnection(state);
    // Progress goes on without the socket; it only comes less often.
    if (state === "waiting") refreshStatus();
  },
});

let progress = NOTHING_YET;
let starting = false;
let runs = { list: [], next: null };
let failures = [];
let failuresDue = null;
const settled = new Set();

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
  [runs, failures] = [{ list: [], next: null }, []];
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
  const before = progress;
  progress = applyFrame(progress, frame, Date.now());
  if (progress === before) return;
  if (isSyncing(progress) || progress.runId !== before.runId) starting = false;
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

async function refreshRuns() {
  await quietly(async () => {
    const page = await api.runs();
    runs = { list: page.runs, next: page.next };
    drawRuns();
  });
}

/** Failures of the newest run, and those outside any run: an order's latest word, once. */
async function refreshFailures() {
  await quietly(async () => {
    const newest = runs.list[0];
    const runId = progress.runId ?? newest?.runId;
    const failed = Math.max(progress.failedOrders, newest?.failedOrders ?? 0);
    const [ofRun, outside] = await Promise.all([runId && failed > 0 ? api.run(runId) : { failures: [] }, api.failures()]);
    const byOrder = new Map(outside.failures.map((failure) => [failure.orderId, failure]));
    for (const failure of ofRun.failures) {
      if (!settled.has(`${runId} ${failure.orderId}`)) byOrder.set(failure.orderId, { ...failure, runId });
    }
    failures = [...byOrder.values()];
    drawFailures();
  });
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
  if (isBlocked()) return;
  notice(null);
  starting = true;
  draw();
  try {
    await ask();
    setTimeout(() => starting && refreshStatus().then(() => ((starting = false), draw())), STARTED_WITHIN_MS);
  } catch (error) {
    starting = false;
    draw();
    const wait = error.code === "cooling_down" && error.retryAfter ? ` Try again in ${plural(error.retryAfter, "second")}.` : "";
    notice(error.inWords + wait);
    if (error.status === 409) refreshStatus();
  }
}

/** One order is synced at once, without a run: no cool-down to wait for. */
async function retry({ orderId, runId }, button) {
  await busy(button, async () => {
    const answer = await api.syncOrder(orderId);
    notice(answer.result === "skipped" ? `Order ${orderId} was skipped: ${answer.reason}.` : `Order ${orderId} is in step.`, "good");
    // A run's record keeps what happened in the run; here it is done with.
    settled.add(`${runId} ${orderId}`);
    await refreshFailures();
  });
}

function retryAll() {
  const runId = progress.runId ?? runs.list[0]?.runId;
  if (runId) begin(() => api.retry(runId, failures.map((failure) => failure.orderId)));
  else failures.forEach((failure) => retry(failure));
}

$("start-full").addEventListener("click", () => begin(() => api.start("full")));
$("start-incremental").addEventListener("click", () => begin(() => api.start("incremental")));
$("retry-all").addEventListener("click", retryAll);
$("notice-close").addEventListener("click", () => notice(null));
$("cancel").addEventListener("click", () => $("cancel-dialog").showModal());
$("cancel-no").addEventListener("click", () => $("cancel-dialog").close());
$("cancel-yes").addEventListener("click", async () => {
  $("cancel-dialog").close();
  await busy($("cancel"), () => api.cancel());
});
$("older").addEventListener("click", () =>
  busy($("older"), async () => {
    const page = await api.runs(runs.next);
    runs = { list: [...runs.list, ...page.runs], next: page.next };
    drawRuns();
  }),
);

/** One click, one call: the button rests while it runs, and a failure is told. */
async function busy(button, action) {
  button?.setAttribute("disabled", "");
  try {
    await action();
  } catch (error) {
    notice(error.inWords ?? error.message);
  } finally {
    button?.removeAttribute("disabled");
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

const draw = () => showProgress(progress, { starting, now: Date.now() });

function drawRuns() {
  showLastRun(runs.list);
  showRuns(runs.list, api.run);
  $("older").hidden = !runs.next;
}

const drawFailures = () => showFailures(failures, { retry, canRetry: !session.isMember });

// The countdown and the elapsed time move by themselves.
setInterval(() => session.signedIn && progress !== NOTHING_YET && draw(), 500);
enter();
