// The admin page: who is signed in, what runs, what happened. Each part lives in a module of its own:
//
//   session.js    who is signed in            current.js    draws the current run
//   api.js        calls to the admin API      ending.js     tells its end
//   socket.js     the live connection         failures.js   finds what failed, attention.js draws it
//   progress.js   the run, as a function      lists.js      draws runs, details.js one of them, picture.js all
//                 of its frames               orders.js     names orders, order.js draws the history of one
//   eta.js        the time left               view.js       draws all around: session, connection, messages
//   reasons.js    codes in an admin's words   elements.js   the means of drawing, format.js those of wording
//
// start.js loads it.

import { showFailures, showIssues } from "./attention.js";
import { Api } from "./api.js";
import { showProgress } from "./current.js";
import { $, focusInstead, isBlocked, renewMoments, whileBlocked } from "./elements.js";
import { allowNotification, forgetEnd, offerNotification, showTitle, tellEnd } from "./ending.js";
import { PER_PAGE, findFailures, findIssues } from "./failures.js";
import { lowerFirst, plural } from "./format.js";
import { refreshOpenRuns, showLastRun, showRuns } from "./lists.js";
import { setUpOrders } from "./orders.js";
import { showPicture } from "./picture.js";
import { NOTHING_YET, applyFrame, hasJustEnded, isSyncing } from "./progress.js";
import { isOrder, reason } from "./reasons.js";
import { Session } from "./session.js";
import { LiveUpdates } from "./socket.js";
import { clearBoard, dismissed, notice, showConnection, showProblems, showSession } from "./view.js";

const DRAW_EVERY_MS = 500;
const FAILURES_EVERY_MS = 2_000;
const MOMENTS_EVERY_MS = 20_000;
const LISTS_EVERY_MS = 300_000; // What fails outside of runs isn't told by any frame.
const ANSWERED_WITHIN_MS = 5_000;
const UNREACHED_AFTER = 3;
const RUNS_AT_ONCE = 10; // The picture shows more of them.
const MOST_RETRIED = 10_000; // The API takes no more in one call.
const WENT_THROUGH = { status: ["Completed", "Delay"], kind: ["full", "incremental"] };

const config = await fetch(new URL("assets/config.json", document.baseURI)).then((answer) => {
  if (!answer.ok) throw new Error(`assets/config.json: ${answer.status}`);
  return answer.json();
});
const session = new Session(config);
const api = new Api(session, (error) => endSession(error.message));
const live = new LiveUpdates({
  url: config.websocketUrl,
  ticket: async () => ({ ...(await api.ticket()), ends: session.ends }),
  onFrame: take,
  onState: (state) => connectionIs(state),
});

let progress = NOTHING_YET;
let problems = [];
let unreached = 0; // How often the live connection couldn't be made, one after the other.
let stoppedAt = null; // While nothing is heard, no clock goes on: what it would say isn't known.
let starting = false;
let cancelling = null; // The run that was asked to stop, until a frame says that it has.
let runs = { list: [], next: null };
let runsWanted = RUNS_AT_ONCE;
let failures = { list: [], more: false };
let issues = { list: [], more: false };
let failuresWanted = PER_PAGE;
let failuresDue = null;
// Answers may overtake each other: none counts after one that was asked for later.
let asked = 0;
const answered = { status: 0, runs: 0, failures: 0 };
const complaints = new Map(); // What went wrong with nobody asking, until it goes well.

setUpOrders(config, api.history);

// --- the session

function enter() {
  showSession(session, config);
  if (session.linkIgnored) {
    const who = session.claims.email ? ` as ${session.claims.email}` : "";
    notice(`You are signed in already${who}, so the session in the link wasn't used. To use it, sign out and open the link again.`);
  }
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
  runs = { list: [], next: null };
  failures = issues = { list: [], more: false };
  [failuresWanted, runsWanted] = [PER_PAGE, RUNS_AT_ONCE];
  problems = [];
  forgetEnd();
  for (const what of Object.keys(answered)) answered[what] = asked; // What is still under way is somebody else's to see.
  complaints.clear();
  showProblems([]);
  clearBoard();
  showPicture([]);
  draw();
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

// A link that is opened in this tab changes nothing but the fragment.
addEventListener("hashchange", () => {
  if (session.adoptFragment()) enter();
});

// --- what the server tells

function take(frame) {
  debug(frame);
  stoppedAt &&= Date.now();
  // Whoever asks for the status is told of problems, also when nothing else is new; or why there is no answer.
  if (frame.event === "error") problems = [{ code: frame.data?.code, message: frame.data?.error }];
  else if (frame.data?.problems) problems = frame.data.problems;
  drawProblems();
  const before = progress;
  progress = applyFrame(progress, frame, Date.now());
  if (progress === before) return;
  if (isSyncing(progress) || progress.runId !== before.runId) starting = false;
  if (!isSyncing(progress) || progress.runId !== cancelling) cancelling = null;
  if (hasJustEnded(before, progress)) tellEnd(progress);
  else if (progress.runId !== before.runId) forgetEnd();
  draw();
  const isAnother = progress.runId !== before.runId;
  if (!isSyncing(progress) && (isAnother || progress.status !== before.status)) refreshLists();
  else if (isAnother) refreshRuns();
  else if (progress.failedOrders !== before.failedOrders) refreshFailuresSoon();
}

const NAMES = {
  sync_status: "Sync status:",
  sync_progress: "Sync progress:",
  sync_ticket_progress: "Sync ticket progress:",
  sync_complete: "Sync complete:",
};

/** What comes can be read in the console, for diagnosis. It is about counts: nobody's data is in it. */
function debug({ event = "sync_status", seq, data }) {
  console.debug(NAMES[event] ?? event, seq ?? "", data);
}

function connectionIs(state) {
  showConnection(state, live.heardAt);
  stoppedAt = state === "live" ? null : (stoppedAt ?? Date.now());
  if (state === "live") unreached = 0;
  // Progress goes on without the socket; it only comes less often.
  if (state === "waiting") {
    unreached += 1;
    refreshStatus();
  }
  drawProblems();
  draw();
}

async function refreshStatus() {
  await quietly("status", api.status, (data) => take({ data }));
}

function refreshLists() {
  refreshRuns().then(refreshFailures);
}

/** The newest page, and behind it what was read of older ones. */
async function refreshRuns() {
  await quietly("runs", () => api.runs(), (page) => {
    const oldest = page.runs.at(-1)?.runId;
    const known = runs.list.findIndex((run) => run.runId === oldest);
    runs = known < 0 ? { list: page.runs, next: page.next } : { list: [...page.runs, ...runs.list.slice(known + 1)], next: runs.next };
    drawRuns();
  });
}

async function showOlderRuns() {
  runsWanted += RUNS_AT_ONCE;
  const before = runs.next;
  if (before && runs.list.length < runsWanted) {
    const page = await api.runs(before);
    // Somebody else may have read the list anew meanwhile.
    if (runs.next === before) runs = { list: [...runs.list, ...page.runs], next: page.next };
  }
  drawRuns();
}

async function refreshFailures() {
  // What is noticed in a run is read when it is over.
  const ask = () => Promise.all([lookForFailures(failuresWanted), isSyncing(progress) ? null : findIssues(api, newestRunId())]);
  await quietly("failures", ask, ([found, noticed]) => {
    failures = found;
    issues = noticed ?? issues;
    drawFailures();
  });
}

/** The run whose notices are of interest: a start that was skipped has none. */
const newestRun = () => runs.list.find((run) => run.status !== "Skipped");
const newestRunId = () => progress.runId ?? newestRun()?.runId ?? null;

/** Runs in which something failed, back to the newest that went through all orders: one that was broken off has looked at few of them. */
function failedRunIds() {
  const ids = progress.failedOrders > 0 ? [progress.runId] : [];
  for (const run of runs.list) {
    if (run.failedOrders > 0 && !ids.includes(run.runId)) ids.push(run.runId);
    if (WENT_THROUGH.status.includes(run.status) && WENT_THROUGH.kind.includes(run.kind)) break;
  }
  return ids;
}

const lookForFailures = (wanted) => findFailures(api, failedRunIds(), wanted, isSyncing(progress));

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
  complaints.clear();
  starting = true;
  draw();
  try {
    console.debug("Sync triggered:", await ask());
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
    // Its row may be gone, and with it a person's place.
    if (document.activeElement === document.body) $("failures-title").focus();
    refreshOpenRuns();
  });
}

function retried(orderId, { result, message, ...skip }) {
  if (!result) return `Order ${orderId}: ${message}.`;
  if (result !== "skipped") return `Order ${orderId} is in step.`;
  return `Order ${orderId} was skipped: ${lowerFirst(reason({ code: skip.reason }))}`;
}

/** A run over every order that still fails, also those not shown yet. */
async function retryAll() {
  await busy($("retry-all"), async () => {
    const { list, more } = await lookForFailures(MOST_RETRIED);
    const orders = list.filter(isOrder);
    const ids = orders.slice(0, MOST_RETRIED).map((failure) => failure.orderId);
    const runId = newestRunId();
    if (ids.length === 0) return refreshFailures();
    if (!runId) return retryOneByOne(orders);
    await begin(async () => {
      const answer = await api.retry(runId, ids);
      const others = more || ids.length < orders.length ? " The others can follow when it is done." : "";
      notice(`Trying ${plural(ids.length, "order")} again.${others}`, "good");
      return answer;
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
$("notify").addEventListener("click", async () => {
  notice(await allowNotification(), "good");
  draw();
});
$("older").addEventListener("click", async () => {
  const shown = $("runs").childElementCount;
  await busy($("older"), showOlderRuns);
  focusInstead($("older"), $("runs"), shown);
});
$("more-failures").addEventListener("click", async () => {
  await busy($("more-failures"), () => {
    failuresWanted += PER_PAGE;
    return refreshFailures();
  });
  if ($("more-failures").hidden) $("failures-title").focus();
});

/** One click, one call: the button rests while it runs, and a failure is told. */
async function busy(button, action) {
  const work = async () => {
    try {
      await action();
    } catch (error) {
      notice(error.inWords ?? error.message);
    }
  };
  await (button ? whileBlocked(button, work) : work());
  draw();
}

/** For calls nobody asked for: lists keep what they had; a lost session has been told by then. What went wrong is told until it goes well. */
async function quietly(what, ask, show) {
  if (!session.signedIn) return;
  const mine = ++asked;
  try {
    const found = await ask();
    if (mine <= answered[what]) return;
    answered[what] = mine;
    show(found);
    dismissed(complaints.get(what));
    complaints.delete(what);
  } catch (error) {
    if (error.status === undefined) throw error;
    if (error.status === 401 || error.status === 0 || error.message === complaints.get(what)?.message) return;
    complaints.set(what, { message: error.message, text: error.inWords });
    notice(error.inWords);
  }
}

// --- drawing

const mayNot = () => (session.isMember ? "This needs an admin account." : null);

function draw() {
  showProgress(progress, { starting, cancelling: cancelling !== null, mayNot: mayNot(), now: stoppedAt ?? Date.now() });
  showTitle(progress, starting);
  offerNotification(progress);
}

const UNREACHED = {
  code: "live_updates_unavailable",
  message: "Live updates don't come through to this browser.",
  action: "Progress is read now and then instead. If it stays, check the network's proxy and the WebSocket API.",
};

function drawProblems() {
  const isOurs = unreached >= UNREACHED_AFTER && !problems.some(({ code }) => code === UNREACHED.code);
  showProblems(isOurs ? [...problems, UNREACHED] : problems);
}

function drawRuns() {
  showLastRun(runs.list);
  showRuns(runs.list.slice(0, runsWanted), api.run);
  showPicture(runs.list);
  $("older").hidden = !runs.next && runs.list.length <= runsWanted;
}

function drawFailures() {
  showFailures(failures.list, { more: failures.more, retry, mayNot: mayNot() });
  showIssues(issues.list, issues.more);
}

// Countdowns, the time left and the elapsed time move by themselves.
setInterval(() => session.signedIn && draw(), DRAW_EVERY_MS);
setInterval(() => document.visibilityState === "visible" && refreshLists(), LISTS_EVERY_MS);
document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && refreshLists());
setInterval(renewMoments, MOMENTS_EVERY_MS);
enter();
