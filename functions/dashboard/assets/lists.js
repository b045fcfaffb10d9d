// Draws what has been: the last run, the recent runs with their details, and what failed.

import { cause, count, duration, kind, moment, plural, reason, secondsBetween, state as stateInWords } from "./format.js";
import { $, element } from "./view.js";

const isOver = (run) => run.status !== "Syncing";

const pill = (status) => element("span", { className: "status", "data-status": status }, stateInWords(status));

function took(run) {
  return run.startTime && run.endTime ? duration(secondsBetween(run.startTime, run.endTime)) : null;
}

function quiet(text) {
  return element("p", { className: "quiet" }, text);
}

/** The newest run that is over. */
export function showLastRun(runs) {
  const run = runs.find(isOver);
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
      ["Skipped", count(run.skippedOrders)],
      ["Tickets", count(run.totalTickets)],
      ["Tickets added", count((run.ticketsAdded ?? 0) + (run.ticketsReinstated ?? 0))],
      ["Tickets cancelled", count(run.ticketsCancelled)],
    ]),
  ].filter(Boolean);
}

function figures(rows) {
  const row = ([name, value, bad]) =>
    element("div", bad ? { className: "bad" } : {}, element("dt", {}, name), element("dd", {}, value));
  return element("dl", { className: "summary" }, ...rows.map(row));
}

/** User ids say nothing to a person; names and "schedule" do. */
function by(run) {
  const who = run.requestedBy ?? "";
  return who && !/^[0-9a-f]{8}-[0-9a-f-]{27}$/i.test(who) ? `by ${who}` : null;
}

/** `load(runId)` fetches a run's details once it is opened. */
export function showRuns(runs, load) {
  const over = runs.filter(isOver);
  const open = new Set([...$("runs").querySelectorAll("details[open]")].map((details) => details.dataset.run));
  $("runs").replaceChildren(...over.map((run) => runRow(run, open.has(run.runId), load)));
  if (over.length === 0) $("runs").append(element("li", {}, quiet("No run yet.")));
}

function runRow(run, open, load) {
  const done = run.syncedOrders + run.failedOrders;
  const orders = `${done === run.totalOrders ? "" : `${count(done)} of `}${plural(run.totalOrders, "order")}`;
  const summary = element(
    "summary",
    {},
    element("span", { className: "kind" }, kind(run.kind)),
    pill(run.status),
    element(
      "span",
      { className: "quiet" },
      orders,
      run.failedOrders > 0 ? element("span", { className: "bad" }, ` · ${count(run.failedOrders)} failed`) : null,
    ),
    element("span", { className: "quiet when" }, [moment(run.startTime), took(run)].filter(Boolean).join(" · ")),
  );
  const body = element("div", { className: "details" }, quiet("Loading…"));
  const details = element("details", { open, "data-run": run.runId }, summary, body);
  const fill = async () => body.replaceChildren(...(await load(run.runId).then(runDetails, (error) => [quiet(error.inWords)])));
  if (open) fill();
  else details.addEventListener("toggle", () => details.open && fill());
  return element("li", {}, details);
}

function runDetails({ run, failures, skips, issues, drift, next }) {
  const parts = [
    figures([
      ["Listed", count(run.listedOrders)],
      ["Unchanged", count(run.unchangedOrders)],
      ["Skipped", count(run.skippedOrders)],
      ["Tickets added", count(run.ticketsAdded)],
      ["Reinstated", count(run.ticketsReinstated)],
      ["Tickets cancelled", count(run.ticketsCancelled)],
    ]),
    run.error ? element("p", { className: "problem" }, cause(run.error)) : null,
    drift?.orders > 0 ? driftDetails(drift) : null,
    group("Failed", failures),
    group("Skipped", skips),
    group("Noticed", issues),
    next ? quiet("Only the first 100 are shown.") : null,
  ];
  return parts.filter(Boolean);
}

/** Orders whose tickets disagreed before the run; new orders are among them. */
function driftDetails(drift) {
  const row = (order) => element("li", {}, element("code", {}, order.orderId), " ", ticketChanges(order));
  return element(
    "details",
    { className: "drift" },
    element("summary", {}, `Tickets of ${plural(drift.orders, "order")} were brought in step: ${ticketChanges(drift)}`),
    element("ul", {}, ...(drift.list ?? []).map(row)),
  );
}

function ticketChanges({ added, reinstated, cancelled }) {
  const changes = [[added, "added"], [reinstated, "reinstated"], [cancelled, "cancelled"]];
  return changes.filter(([tickets]) => tickets > 0).map(([tickets, word]) => `${count(tickets)} ${word}`).join(", ");
}

function group(title, items) {
  if (!items?.length) return null;
  const row = (item) => element("li", {}, item.orderId ? element("code", {}, item.orderId) : null, " ", item.message ?? reason(item));
  return element("section", {}, element("h3", {}, `${title} (${count(items.length)})`), element("ul", {}, ...items.map(row)));
}

/** `failures`: each with `orderId`, and `runId` where a run met it. `retry(failure, button)` tries one again. */
export function showFailures(failures, { retry, canRetry }) {
  $("failures-badge").hidden = failures.length === 0;
  $("failures-badge").textContent = count(failures.length);
  $("retry-all").hidden = !canRetry || failures.length < 2;
  const rows = failures.map((failure) => failureRow(failure, canRetry && retry));
  $("failures").replaceChildren(
    rows.length > 0 ? element("ul", { className: "failures" }, ...rows) : element("p", { className: "fine" }, "Nothing failed."),
  );
}

function failureRow(failure, retry) {
  const facts = [
    failure.attempts > 0 && plural(failure.attempts, "attempt"),
    failure.lastTryAt && `last ${moment(failure.lastTryAt)}`,
    failure.cause && `from ${failure.cause === "webhook" ? "a webhook" : failure.cause}`,
    failure.class === "transient" && "may pass by itself",
  ];
  const row = element(
    "li",
    { "data-testid": "failure" },
    element("div", {}, element("code", {}, failure.orderId), element("p", {}, reason(failure)), quiet(facts.filter(Boolean).join(" · "))),
  );
  if (retry) {
    const button = element("button", { type: "button", className: "small", "aria-label": `Retry order ${failure.orderId}` }, "Retry");
    button.addEventListener("click", () => retry(failure, button));
    row.append(button);
  }
  return row;
}
