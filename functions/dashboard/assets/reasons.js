// Why orders need attention, in an admin's words: each code of a failure or an issue with a title and what to do about it, and
// the grouping by them. Nothing here touches the page.

const WAIT = "It is tried again by the next sync; retry it to have it sooner.";
const LOOK = "Look at the order in GoHighLevel and correct it there, then retry it.";
const FORCE = "Look at the order in GoHighLevel. If it is right there, sync that order with force to apply it.";

/** Code: `[title, what to do]`. */
const REASONS = {
  // Failures
  order_not_found: ["GoHighLevel doesn't know these orders", "Check whether they were deleted there. If so, nothing is to be done, and their tickets stay as they are."],
  order_refused: ["GoHighLevel refuses to show these orders", "Check that the private integration may read orders of this location, then retry them."],
  ghl_unauthorized: ["GoHighLevel refuses the access token", "Make a new private integration token in GoHighLevel and configure it, then retry all."],
  ghl_unavailable: ["GoHighLevel couldn't be reached", WAIT],
  ghl_answer_not_usable: ["GoHighLevel's answer was incomplete", `${WAIT} If it stays, look at the order in GoHighLevel.`],
  ghl_rate_limited: ["GoHighLevel's limit was reached", "Another app uses the same limit. Retry when that one is done."],
  rate_limited: ["GoHighLevel's limit left no room", "Retry when no other sync is running."],
  daily_budget_exhausted: ["GoHighLevel's calls for today are used up", "Retry tomorrow; the limit starts anew each day."],
  ghl_refused: ["GoHighLevel refused the request", "Retry once. If it stays, report the order's id: the request may no longer suit GoHighLevel."],
  database_unavailable: ["The database couldn't be reached", "Check Supabase's status and credentials, then retry."],
  data_refused: ["The database refused the order's data", LOOK],
  tickets_refused: ["The database refused the tickets", "Retry once. If it stays, report the order's id: its tickets aren't in step."],
  dead_letter: ["Given up after several attempts", "Retry. If it fails again, the logs of that time tell why."],
  no_outcome: ["The workers came to no end", "Retry. If it fails again, the logs of that time tell why."],
  unreadable_message: ["A message couldn't be read", "It named no order, so nothing can be retried. A full sync finds whatever it was about."],
  internal: ["An error on our side", "Retry once. If it stays, report the order's id."],

  // Issues: the order is in step as far as its data goes.
  items_unreadable: ["Items of the order can't be read", LOOK],
  lines_unreadable: ["The order has no readable lines any more", FORCE],
  lines_unclear: ["It isn't clear which tickets belong to which item", FORCE],
  original_tickets_unclear: ["Tickets of the original app can't be placed", FORCE],
  status_unclear: ["The order has a status that nobody knows", FORCE],
  force_outdated: ["The order changed before it was forced", "Look at the order again, then sync it with force."],
  unknown_status: ["The order has a status that nobody knows", "It entitles to no tickets until its status is a known one. Look at it in GoHighLevel."],
  unknown_payment_status: ["The payment has a status that nobody knows", "The order entitles to no tickets until it is paid. Look at it in GoHighLevel."],
  quantity_refused: ["A quantity is out of bounds", LOOK],
  quantity_unreadable: ["A quantity can't be read", LOOK],
  amount_unreadable: ["An amount can't be read", "Tickets aren't affected. Look at the order in GoHighLevel if the amount matters."],
  updated_at_unreadable: ["The time of the last change can't be read", "Nothing is lost: full syncs look at the order again."],
  older_version_applied: ["GoHighLevel went back to an older version", "Look at the order in GoHighLevel: what it shows now was applied."],
  partial_refund: ["Part of the money was refunded", "All tickets stay. Cancel single tickets by hand if that was agreed."],
  full_refund: ["All was refunded, but the order counts as paid", "Its tickets stay. Look at it in GoHighLevel and mark it as refunded there."],
  over_validated: ["More people were admitted than the order pays for", "Nobody is sent away afterwards. Ask at the gate if that was right."],
  legacy_tickets: ["Tickets of the original app fit no item", "Live ones were cancelled. Look at the order, and reinstate by hand what was right."],
  orders_not_listed: ["Stored orders are missing in GoHighLevel's list", "Look them up there, and cancel the tickets of those that are gone."],
  row_unreadable: ["Rows of GoHighLevel's list can't be read", "The next full sync reads them again. If it stays, look the orders up there."],
  listing_short: ["GoHighLevel's list of orders was incomplete", "Nothing was taken away because of it. The next full sync reads it again."],
  listing_shifted: ["Orders moved while the list was read", "Nothing was taken away because of it. The next full sync reads it again."],
  products_short: ["GoHighLevel's list of products was incomplete", "No product was taken away because of it. It is read again by the next sync."],
  transactions_refused: ["GoHighLevel doesn't show its transactions", "Give the private integration the right to read transactions, so that partial refunds are seen."],
  transactions_unreadable: ["Some transactions can't be read", "Partial refunds may be missing. The next full sync reads them again."],
};

const SKIPPED = { no_valid_product: "Has no product of ours.", other_location: "Belongs to another location." };

export const titleOf = (code) => REASONS[code]?.[0] ?? "Other reasons";

export const adviceOf = (code) => REASONS[code]?.[1] ?? "Each one says what happened. Retry once; if it stays, look at the order in GoHighLevel.";

export const isKnown = (code) => Object.hasOwn(REASONS, code ?? "");

/** What one order's failure, skip or issue says. */
export const reason = (item) =>
  item.reason || item.message || SKIPPED[item.code] || REASONS[item.code]?.[0] || item.code || "No reason was given.";

/** Whether it is about an order: an unreadable message has only an id of its own, and some issues concern a whole run. */
export const isOrder = ({ orderId, code }) => Boolean(orderId) && code !== "unreadable_message";

/** An order that the run didn't come to has not failed. */
export const isFailure = (item) => item.code !== "not_attempted";

/** `[{code, items}]` by code, the largest group first; what has a code that nobody knows is one group at the end (`code` null). */
export function groups(items) {
  const byCode = new Map();
  for (const item of items) {
    const code = isKnown(item.code) ? item.code : null;
    if (!byCode.has(code)) byCode.set(code, []);
    byCode.get(code).push(item);
  }
  const all = [...byCode].map(([code, items]) => ({ code, items }));
  return all.sort((a, b) => (a.code === null) - (b.code === null) || b.items.length - a.items.length);
}
