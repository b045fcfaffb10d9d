// Draws what has been: the last run, the recent runs with their details, and what failed.

import { showRunDetails } from "./details.js";
import { cause, count, duration, kind, moment, plural, reason, secondsBetween, skipInWords, state as stateInWords } from "./format.js";
import { $, block, element, figures, quiet, renew } from "./view.js";

const isOver = (run) => run.status !== "Syncing";

const pill = (status) => element("span", { className: "status", "data-status": status }, stateInWords(status));

function took(run) {
  return run.status !== "Skipped" && run.startTime && run.endTime ? duration(secondsBetween(run.startTime, run.endTime)) : null;
}

/** The newest run that is over, and whether it left orders to be synced; a start that was skipped is none. */
export function showLastRun(runs) {
  const run = runs.find((run) => isOver(run) && run.status !== "Skipped");
  $("sync-rest").hidden = !(run?.notAttemptedOrders > 0);
  $("sync-rest").dataset.run = run?.runId ?? "";
  $("last-run").replaceChildren(...(run ? lastRun(run) : [quiet("No run yet.")]));
}

function lastRun(run) {
  const when = [moment(run.startTime), took(run) && `took ${took(run)}`, by(run)].filter(Boolean).join(" · ");
  return [
    element("p", { className: "row" }, element("b", {}, kind(run.kind)), pill(run.status)),
    quiet(when),
    run.error ? element("p", { className: "problem" }, cause(run.error)) : null,
    figures([
      ["Orders in step", count(run.syncedOrders)],
      ["Failed", count(run.failedOrders), run.failedOrders > 0],
      ...(run.notAttemptedOrders > 0 ? [["Not attempted", count(run.notAttemptedOrders)]] : []),
      ["Skipped", count(run.skippedOrders)],
      ["Tickets", count(run.totalTickets)],
      ["Tickets added", count((run.ticketsAdded ?? 0) + (run.ticketsReinstated ?? 0))],
      ["Tickets cancelled", count(run.ticketsCancelled)],
    ]),
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
  if (over.length === 0) $("runs").append(element("li", {}, quiet("No run yet.")));
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
    element("span", { className: "quiet when" }, [moment(run.startTime), took(run)].filter(Boolean).join(" · ")),
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
  const done = run.syncedOrders + run.failedOrders;
  return [
    `${done === run.totalOrders ? "" : `${count(done)} of `}${plural(run.totalOrders, "order")}`,
    run.failedOrders > 0 ? element("span", { className: "bad" }, ` · ${count(run.failedOrders)} failed`) : null,
  ];
}

/**
 * `failures`: each with `orderId`; `more`: there are others yet to be loaded. `retry(failure, button)` tries one again;
 * `mayNot`: why this user can't.
 */
export function showFailures(failures, { more, retry, mayNot }) {
  const shown = `${count(failures.length)}${more ? "+" : ""}`;
  $("failures-badge").hidden = failures.length === 0;
  $("failures-badge").textContent = shown;
  $("retry-all").hidden = failures.length < 2;
  $("retry-all").textContent = more ? "Retry all" : `Retry all ${shown}`;
  $("more-failures").hidden = !more;
  $("no-failures").hidden = failures.length > 0;
  Object.assign($("no-failures"), { textContent: "Nothing failed.", className: "fine" });
  renew($("failures-list"), failures, (failure) => failureRow(failure, retry, mayNot));
}

function failureRow(failure, retry, mayNot) {
  const facts = [
    failure.attempts > 0 && plural(failure.attempts, "attempt"),
    failure.lastTryAt && `last ${moment(failure.lastTryAt)}`,
    failure.cause && `from ${failure.cause === "webhook" ? "a webhook" : failure.cause}`,
    failure.class === "transient" && "may pass by itself",
  ];
  const button = element("button", { type: "button", className: "small", "aria-label": `Retry order ${failure.orderId}` }, "Retry");
  block(button, mayNot);
  button.addEventListener("click", () => retry(failure, button));
  return element(
    "li",
    { "data-testid": "failure" },
    element("div", {}, element("code", {}, failure.orderId), element("p", {}, reason(failure)), quiet(facts.filter(Boolean).join(" · "))),
    button,
  );
}
