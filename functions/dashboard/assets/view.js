// Draws the account line and the progress card. Text enters the page as text only.

import { NOTHING, cause, count, duration, kind, plural, rate, secondsBetween, state as stateInWords } from "./format.js";
import { cooldownSeconds, isSyncing, ordersPercent, ticketsPercent } from "./progress.js";

export const $ = (id) => document.getElementById(id);

/** A new element: `element("p", { className: "quiet" }, "text", child)`. Properties with a dash become attributes. */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-")) made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return made;
}

export const quiet = (text) => element("p", { className: "quiet" }, text);

/** Named numbers: `[name, value, bad]`. */
export function figures(rows) {
  const row = ([name, value, bad]) =>
    element("div", bad ? { className: "bad" } : {}, element("dt", {}, name), element("dd", {}, value));
  return element("dl", { className: "summary" }, ...rows.map(row));
}

/** A button that does nothing now stays where it is, keeps the focus, and says why; `null` frees it. */
export function block(button, why) {
  button.setAttribute("aria-disabled", String(Boolean(why)));
  button.title = why ?? "";
}

export const isBlocked = (button) => button.getAttribute("aria-disabled") === "true";

/** The rows of `items`. One whose item hasn't changed stays, and with it what is open, focused or scrolled in it. */
export function renew(parent, items, make) {
  const keyed = items.map((item) => [JSON.stringify(item), item]);
  const kept = new Map([...parent.children].map((row) => [row.key, row]));
  const rows = keyed.map(([key, item]) => kept.get(key) ?? Object.assign(make(item), { key }));
  const stay = new Set(rows);
  for (const row of [...parent.children]) if (!stay.has(row)) row.remove();
  rows.forEach((row, at) => parent.children[at] !== row && parent.insertBefore(row, parent.children[at] ?? null));
}

/** Written only when it differs, so that screen readers hear each change once. */
function write(id, text) {
  if ($(id).textContent !== text) $(id).textContent = text;
}

export function notice(text, tone = "error") {
  $("notice").hidden = !text;
  $("notice").dataset.tone = tone;
  write("notice-text", text ?? "");
}

const CONNECTION = {
  connecting: "Connecting…",
  live: "Live",
  waiting: "Reconnecting…",
  stopped: "Not connected",
};

const UNHEARD_AFTER_MS = 3_000;
let unheard = null;

/** Without a live connection what stands on the board turns grey after a moment: "Ready" may be long past. */
export function showConnection(connection) {
  $("connection").dataset.state = connection;
  write("connection", CONNECTION[connection]);
  if (connection !== "live") {
    unheard ??= setTimeout(() => ($("board").dataset.heard = "no"), UNHEARD_AFTER_MS);
    return;
  }
  clearTimeout(unheard);
  unheard = null;
  $("board").dataset.heard = "yes";
}

/** What keeps the system from working, each `{code, message}`. */
export function showProblems(problems) {
  $("problems").hidden = problems.length === 0;
  renew($("problems"), problems, ({ code, message }) => element("li", { "data-code": code }, message));
}

export function showSession(session, config) {
  const { email } = session.claims;
  $("account").hidden = $("board").hidden = !session.signedIn;
  $("sign-in").hidden = session.signedIn;
  $("sign-in-form").hidden = !session.canSignIn;
  $("sign-in-link").hidden = session.canSignIn;
  $("full-help").hidden = session.isMember;
  $("member-help").hidden = !session.isMember;
  write("who", email ?? (session.isMember ? "Member" : "Admin"));
  if ($("location").childNodes.length === 1) $("location").append(config.locationId);
}

/**
 * `starting`, `cancelling`: it was asked for and no frame of it has come yet. `mayNot`: why this user can start and cancel
 * nothing, if so.
 */
export function showProgress(progress, { starting, cancelling, mayNot, now }) {
  const status = starting ? "Starting" : progress.status;
  const wait = cooldownSeconds(progress, now);
  const syncing = isSyncing(progress) && !starting;
  const orders = starting ? null : ordersPercent(progress);
  const tickets = starting ? null : ticketsPercent(progress);

  $("status").dataset.status = status;
  write("status", stateInWords(status));
  write("sync-title", starting || progress.status === "Idle" ? "Sync" : kind(progress.kind));
  showPercent(orders, status);
  write("sentence", cancelling ? "Cancelling…" : sentence(progress, status, wait));
  $("sentence").dataset.status = status;
  showCountdown(wait, progress.cooldownLength);

  bar("orders-bar", orders);
  write("orders-count", orders === null || status === "Idle" ? "" : `${count(progress.syncedOrders + progress.failedOrders)} of ${count(progress.totalOrders)}`);
  write("orders-detail", starting ? "" : ordersDetail(progress));
  bar("tickets-bar", tickets);
  write("tickets-count", tickets === null || status === "Idle" ? "" : plural(Math.max(progress.totalTickets, progress.totalTicketsChecked), "ticket"));
  write("tickets-detail", starting ? "" : ticketsDetail(progress));

  write("rate", syncing ? rate(progress.ordersPerSecond) : averageRate(progress, starting));
  write("eta", syncing && progress.etaSeconds !== null ? duration(progress.etaSeconds) : NOTHING);
  write("elapsed", starting || !progress.startTime ? NOTHING : duration(elapsed(progress, now)));

  showBlocked(mayNot ?? whyBusy(starting || isSyncing(progress), wait));
  showCancel(syncing, cancelling, mayNot);
  document.title = syncing && orders !== null ? `${orders}% · ghl-sync` : "ghl-sync";
}

/** Only one run at a time. */
function whyBusy(running, wait) {
  if (running) return "A sync is running. Only one can run at a time.";
  return wait !== 0 ? "The last sync has just ended. The next can start in a moment." : null;
}

function showBlocked(why) {
  for (const button of document.querySelectorAll("[data-starts-run]")) block(button, why);
}

function showCancel(syncing, cancelling, mayNot) {
  const [cancel, dialog] = [$("cancel"), $("cancel-dialog")];
  write("cancel", cancelling ? "Cancelling…" : "Cancel sync…");
  block(cancel, cancelling ? "The sync is being cancelled." : mayNot);
  // A run that ended by itself leaves nothing to confirm.
  if (!syncing && dialog.open) dialog.close();
  const focused = document.activeElement === cancel;
  cancel.hidden = !syncing;
  // What is hidden loses the focus, and a person on the keyboard their place.
  if (focused && !syncing) $("start-full").focus();
}

function showPercent(orders, status) {
  $("percent").hidden = status === "Idle" || orders === null;
  if (orders !== null && $("percent").firstChild.data !== String(orders)) $("percent").firstChild.data = String(orders);
}

function showCountdown(wait, length) {
  $("countdown").hidden = !(wait > 0);
  if (!(wait > 0)) return;
  write("countdown-seconds", String(wait));
  $("countdown-ring").style.strokeDashoffset = String(100 - Math.min(100, (wait / length) * 100));
}

/** Without a value a progress bar says "busy"; that is what it is while nothing is listed yet. */
function bar(id, percent) {
  if (percent === null) $(id).removeAttribute("value");
  else $(id).value = percent;
}

function sentence(progress, status, wait) {
  const done = `${count(progress.syncedOrders + progress.failedOrders)} of ${plural(progress.totalOrders, "order")}`;
  switch (status) {
    case "Idle":
      return "Nothing has been synced yet. Start a full sync to fetch every order.";
    case "Starting":
      return "Asking for the first orders…";
    case "Syncing":
      return progress.totalOrders === 0 ? "Listing orders…" : `${plural(progress.totalOrders - progress.syncedOrders - progress.failedOrders, "order")} to go`;
    case "Delay":
      return wait !== 0 ? "Every order has been handled. The next sync can start in a moment." : "Finishing…";
    case "Completed":
      return progress.failedOrders > 0
        ? `${plural(progress.syncedOrders, "order")} in step, ${count(progress.failedOrders)} failed.`
        : `${plural(progress.syncedOrders, "order")} in step.`;
    case "Cancelled":
      return `Cancelled after ${done}.${notAttempted(progress)}`;
    default:
      return `${cause(progress.error)}${notAttempted(progress)}`;
  }
}

function notAttempted(progress) {
  const { notAttemptedOrders: left } = progress;
  return left > 0 ? ` ${plural(left, "order")} ${left === 1 ? "wasn't" : "weren't"} attempted.` : "";
}

function ordersDetail(progress) {
  const parts = [
    progress.unchangedOrders > 0 && `${count(progress.unchangedOrders)} unchanged`,
    progress.failedOrders > 0 && `${count(progress.failedOrders)} failed`,
    progress.skippedOrders > 0 && `${count(progress.skippedOrders)} skipped`,
  ];
  return parts.filter(Boolean).join(" · ");
}

function ticketsDetail(progress) {
  const parts = [
    progress.ticketsAdded > 0 && `${count(progress.ticketsAdded)} added`,
    progress.ticketsCancelled > 0 && `${count(progress.ticketsCancelled)} cancelled`,
    progress.totalTicketTypes > 0 && plural(progress.totalTicketTypes, "type"),
  ];
  return parts.filter(Boolean).join(" · ");
}

function elapsed(progress, now) {
  return Math.max(0, secondsBetween(progress.startTime, progress.endTime ?? new Date(now).toISOString()));
}

function averageRate(progress, starting) {
  if (starting || !progress.startTime || !progress.endTime) return NOTHING;
  return rate((progress.syncedOrders + progress.failedOrders) / elapsed(progress, 0));
}
