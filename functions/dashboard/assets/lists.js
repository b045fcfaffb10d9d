// Draws what has been: the last run, and the recent runs with their details.

import { showRunDetails } from "./details.js";
import { $, dotted, element, figures, moment, quiet, renew } from "./elements.js";
import { brokenOff, cause, count, duration, kind, plural, secondsBetween, skipInWords, state as stateInWords } from "./format.js";
import { doneOrders, isBrokenOff } from "./progress.js";

const isOver = (run) => run.status !== "Syncing";

const pill = (status) => element("span", { className: "status", "data-status": status }, stateInWords(status));

function took(run) {
  return run.status !== "Skipped" && run.startTime && run.endTime ? duration(secondsBetween(run.startTime, run.endTime)) : null;
}

const NO_RUN = "No run yet. Press Start Manual Sync: it fetches every order and makes its tickets.";

const noRun = (runs) => (runs.every(isOver) ? NO_RUN : "The first run is going on.");

/** The newest run that is over; a start that was skipped is none. */
export function showLastRun(runs) {
  const run = runs.find((run) => isOver(run) && run.status !== "Skipped");
  $("last-run").replaceChildren(...(run ? lastRun(run) : [quiet(noRun(runs))]));
}

function lastRun(run) {
  const length = took(run);
  const rows = [
    ["Failed", count(run.failedOrders), run.failedOrders > 0],
    ["Orders in step", count(run.syncedOrders)],
    run.notAttemptedOrders > 0 && ["Not attempted", count(run.notAttemptedOrders)],
    ["Skipped", count(run.skippedOrders)],
    ["Valid tickets", count(run.totalTickets)],
    ["Tickets added", count((run.ticketsAdded ?? 0) + (run.ticketsReinstated ?? 0))],
    ["Tickets cancelled", count(run.ticketsCancelled)],
  ];
  // Failures first; where there are none, what was done.
  if (run.failedOrders === 0) rows.splice(0, 2, rows[1], rows[0]);
  return [
    element("p", { className: "row" }, element("b", {}, kind(run.kind)), pill(run.status)),
    quiet(...dotted(moment(run.startTime, { focusable: true }), length && `took ${length}`, by(run))),
    run.error ? element("p", { className: "problem" }, cause(run.error)) : null,
    isBrokenOff(run) ? quiet(brokenOff(run)) : null,
    figures(rows.filter(Boolean)),
  ].filter(Boolean);
}

/** User ids say nothing to a person; names and "schedule" do. */
function by(run) {
  const who = run.requestedBy ?? "";
  return who && !/^[0-9a-f]{8}-[0-9a-f-]{27}$/i.test(who) ? `by ${who}` : null;
}

/** `load(runId, list, after)` fetches a page of one list of a run's details once it is opened. */
export function showRuns(runs, load) {
  const over = runs.filter(isOver);
  const open = new Set([...$("runs").querySelectorAll("details[data-run][open]")].map((details) => details.dataset.run));
  renew($("runs"), over, (run) => runRow(run, open.has(run.runId), load));
  if (over.length === 0) $("runs").append(element("li", {}, quiet(noRun(runs))));
}

/** Reads the open details anew. */
export function refreshOpenRuns() {
  for (const details of $("runs").querySelectorAll("details[data-run][open]")) details.fill();
}

function runRow(run, open, load) {
  const summary = element(
    "summary",
    {},
    element("span", { className: "kind" }, kind(run.kind)),
    pill(run.status),
    element("span", { className: "quiet" }, ...(run.status === "Skipped" ? [skipInWords(run)] : orders(run))),
    element("span", { className: "quiet when" }, ...dotted(moment(run.startTime), took(run))),
  );
  const body = element("div", { className: "details" }, quiet("Loading…"));
  const details = element("details", { open, "data-run": run.runId }, summary, body);
  const tell = (error) => body.replaceChildren(quiet(error.inWords ?? error.message));
  details.fill = () => showRunDetails(body, run, (list, after) => load(run.runId, list, after)).catch(tell);
  if (open) details.fill();
  details.addEventListener("toggle", () => details.open && details.fill());
  return element("li", {}, details);
}

function orders(run) {
  if (run.totalOrders === 0 && run.error) return [cause(run.error)];
  const done = doneOrders(run);
  const all = plural(run.totalOrders, "order");
  return [
    isBrokenOff(run) ? `${count(run.syncedOrders)} of ${all}` : done === run.totalOrders ? all : `${count(done)} of ${all}`,
    run.failedOrders > 0 ? element("span", { className: "bad" }, ` · ${count(run.failedOrders)} failed`) : null,
  ];
}
