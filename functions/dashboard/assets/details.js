// Draws one run's details, each list page by page: what failed, what was synced since, skipped, noticed, brought in step.

import { element, figures, moment, quiet, whileBlocked } from "./elements.js";
import { cause, count, plural } from "./format.js";
import { copyButton, historyButton, orderName } from "./orders.js";
import { isFailure, reason } from "./reasons.js";

/** Fills `body`. `load(list, after)` fetches a page of one of the run's lists; without `after`, the first. */
export async function showRunDetails(body, run, load) {
  if (run.status === "Skipped") {
    body.replaceChildren(quiet("Nothing was fetched or changed. The next scheduled sync starts by itself."));
    return;
  }
  // Each list is read by itself: three failures aren't to be looked for behind ten thousand new tickets.
  const failures = [
    rows("Failed", (page) => page.failures.filter((failure) => isFailure(failure) && !failure.resolvedAt), orderRow),
    rows("Synced since", (page) => page.failures.filter((failure) => failure.resolvedAt), resolvedRow),
  ];
  const parts = await Promise.all([
    pages((after) => load("failures", after), failures),
    pages((after) => load("skips", after), [rows("Skipped", (page) => page.skips, orderRow)]),
    pages((after) => load("issues", after), [rows("Noticed", (page) => page.issues, orderRow)]),
    driftDetails((after) => load("drift", after)),
  ]);
  const error = run.error ? [element("p", { className: "problem" }, cause(run.error))] : [];
  body.replaceChildren(runFigures(run), ...error, ...parts);
}

/** What `lists` show of one page after the other, behind a button as long as there are more. */
async function pages(load, lists) {
  const button = element("button", { type: "button", className: "small" }, "Show more");
  const problem = element("p", { className: "problem", role: "alert", hidden: true });
  let next;
  const add = (page) => {
    for (const list of lists) list.add(page);
    next = page.next;
    button.hidden = !next;
    problem.hidden = true;
  };
  add(await load());
  const tell = (error) => Object.assign(problem, { hidden: false, textContent: error.inWords ?? error.message });
  button.addEventListener("click", () => whileBlocked(button, () => load(next).then(add, tell)));
  return element("div", {}, ...lists.map(({ section }) => section), problem, button);
}

function runFigures(run) {
  return figures([
    ["Listed", count(run.listedOrders)],
    ["Unchanged", count(run.unchangedOrders)],
    ["Skipped", count(run.skippedOrders)],
    ["Tickets added", count(run.ticketsAdded)],
    ["Reinstated", count(run.ticketsReinstated)],
    ["Tickets cancelled", count(run.ticketsCancelled)],
  ]);
}

/** A titled list that grows with each page and is hidden while it is empty; `3+`: there may be more of them. */
function rows(title, itemsOf, row) {
  const heading = element("h3");
  const list = element("ul");
  const section = element("section", { hidden: true }, heading, list);
  const add = (page) => {
    list.append(...itemsOf(page).map(row));
    const shown = list.childElementCount;
    section.hidden = shown === 0;
    heading.textContent = `${title} (${count(shown)}${page.next ? "+" : ""})`;
  };
  return { section, add };
}

function orderRow(item) {
  return element("li", {}, ...named(item.orderId), " ", item.message ?? reason(item));
}

function resolvedRow(failure) {
  return element("li", {}, ...named(failure.orderId), " ", moment(failure.resolvedAt), `. In the run it failed: ${reason(failure)}`);
}

/** An order with what can be done with it; an issue of the whole run has none. */
function named(orderId) {
  return orderId ? [orderName(orderId), " ", element("span", { className: "tools" }, historyButton(orderId), copyButton(orderId))] : [];
}

/** Orders whose tickets disagreed before the run, folded: new ones are among them, so after a first sync it is every order. */
async function driftDetails(load) {
  const summary = element("summary");
  const list = element("ul");
  const open = element("p");
  const details = element("details", { className: "drift", hidden: true }, summary, open);
  const row = (order) => element("li", {}, ...named(order.orderId), " ", ticketChanges(order));
  const add = ({ drift }) => {
    details.hidden = drift.orders === 0;
    summary.textContent = `Tickets of ${plural(drift.orders, "order")} were brought in step: ${ticketChanges(drift)}`;
    list.append(...drift.list.map(row));
    if (drift.openTables?.length > 0) {
      open.textContent = `Anybody who has the public key can change ${drift.openTables.join(" and ")} until the last step closes them.`;
    }
  };
  details.append(await pages(load, [{ section: list, add }]));
  return details;
}

function ticketChanges({ added, reinstated, cancelled }) {
  const changes = [[added, "added"], [reinstated, "reinstated"], [cancelled, "cancelled"]];
  return changes.filter(([tickets]) => tickets > 0).map(([tickets, word]) => `${count(tickets)} ${word}`).join(", ");
}
