// Draws an order's history: what it is now, its tickets, and what became of them, page by page. Loaded when one is opened.

import { dotted, element, figures, focusInstead, moment, quiet, whileBlocked } from "./elements.js";
import { NOTHING, count, money } from "./format.js";
import { adviceOf, isKnown, reason } from "./reasons.js";

/**
 * Fills `body`. `load(before)` fetches a page, the newest changes first; without `before`, the first page. `tools` are buttons for
 * the order.
 */
export async function showHistory(body, tools, load) {
  const first = await load();
  const changes = element("ol", { className: "changes" });
  const more = element("button", { type: "button", className: "small" }, "Show more");
  let next;
  const add = (page) => {
    changes.append(...(page.changes ?? []).map(change));
    next = page.next;
    more.hidden = !next;
  };
  add(first);
  const tell = (error) => changes.append(element("li", { className: "bad" }, error.inWords ?? error.message));
  more.addEventListener("click", async () => {
    const shown = changes.childElementCount;
    await whileBlocked(more, () => load(next).then(add, tell));
    focusInstead(more, changes, shown);
  });
  body.replaceChildren(
    element("p", { className: "actions" }, ...tools),
    order(first.order),
    ...troubles("Failed", first.failures),
    ...troubles("Noticed", first.issues),
    ...tickets(first.tickets ?? []),
    element("h3", {}, "What became of its tickets"),
    changes.childElementCount > 0 ? changes : quiet("No change of its tickets is recorded."),
    more,
  );
}

/** Names of an order's values, as far as they are sent. */
function order(order) {
  if (!order) return quiet("This order isn't stored here: it was never synced, or isn't a valid order of this location.");
  const yesOrNo = (value) => (typeof value === "boolean" ? (value ? "Yes" : "No") : null);
  const rows = [
    ["Status", order.status ?? NOTHING],
    ["Payment", order.paymentStatus ?? NOTHING],
    ["Total", money(order.totalPaid, order.currency)],
    ["Refunded", order.amountRefunded > 0 ? money(order.amountRefunded, order.currency) : "nothing"],
    ["Event", order.eventName],
    ["Valid order", yesOrNo(order.valid)],
    ["Entitles to tickets", yesOrNo(order.entitled)],
    ["Read from GoHighLevel", order.readAt && moment(order.readAt, { focusable: true })],
  ];
  return figures(rows.filter(([, value]) => value !== undefined && value !== null));
}

function tickets(tickets) {
  if (tickets.length === 0) return [element("h3", {}, "Tickets"), quiet("It has no tickets.")];
  const row = ({ ticketId, type, status, validatedAt }) => {
    const when = validatedAt ? [", ", moment(validatedAt)] : [];
    const cells = [element("td", {}, type), element("td", {}, status, ...when)];
    return element("tr", {}, element("th", { scope: "row" }, String(ticketId)), ...cells);
  };
  const head = element("tr", {}, ...["Ticket", "Type", "Status"].map((name) => element("th", { scope: "col" }, name)));
  const table = element("table", {}, element("thead", {}, head), element("tbody", {}, ...tickets.map(row)));
  return [
    element("h3", {}, `Tickets (${count(tickets.length)})`),
    element("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": "Tickets" }, table),
  ];
}

/** `3 minutes ago · Ticket 12: live → cancelled · by sync · reason`. */
function change({ at, ticketId, from, to, by, reason }) {
  // The same status: another label, which the reason tells.
  const states = from === to ? to : from ? `${from} → ${to ?? "deleted"}` : `made, ${to}`;
  const what = `${ticketId === null || ticketId === undefined ? "" : `Ticket ${ticketId}: `}${states}`;
  return element("li", {}, element("b", {}, what), quiet(...dotted(at && moment(at, { focusable: true }), by && `by ${by}`, reason)));
}

function troubles(title, items = []) {
  if (items.length === 0) return [];
  const row = (item) => {
    const when = item.at ? quiet(moment(item.at, { focusable: true })) : null;
    return element("li", {}, reason(item), isKnown(item.code) ? quiet(adviceOf(item.code)) : null, when);
  };
  return [element("h3", {}, title), element("ul", { className: "changes" }, ...items.map(row))];
}
