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

export function showConnection(connection) {
  $("connection").dataset.state = connection;
  write("connection", CONNECTION[connection]);
}

export function showSession(session, config) {
  const { email } = session.claims;
  $("account").hidden = $("board").hidden = !session.signedIn;
  $("sign-in").hidden = session.signedIn;
  $("sign-in-form").hidden = !session.canSignIn;
  $("sign-in-link").hidden = session.canSignIn;
  $("actions").hidden = session.isMember;
  $("member-help").hidden = !session.isMember;
  write("who", email ?? (session.isMember ? "Member" : "Admin"));
  if ($("location").childNodes.length === 1) $("location").append(config.locationId);
}

/** `starting`: a start was asked for and no frame of it has come yet. */
export function showProgress(progress, { starting, now }) {
  const status = starting ? "Starting" : progress.status;
  const wait = cooldownSeconds(progress, now);
  const syncing = isSyncing(progress) && !starting;
  const orders = starting ? null : ordersPercent(progress);
  const tickets = starting ? null : ticketsPercent(progress);

  $("status").dataset.status = status;
  write("status", stateInWords(status));
  write("sync-title", starting || progress.status === "Idle" ? "Sync" : kind(progress.kind));
  showPercent(orders, status);
  write("sentence", sentence(progress, status, wait));
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

  showBlocked(starting || isSyncing(progress) || wait !== 0);
  $("cancel").hidden = !syncing;
  document.title = syncing && orders !== null ? `${orders}% · ghl-sync` : "ghl-sync";
}

/** Only one run at a time. The buttons stay where they are and keep the focus; `aria-disabled` tells that they do nothing now. */
function showBlocked(blocked) {
  for (const button of document.querySelectorAll("[data-starts-run]")) button.setAttribute("aria-disabled", String(blocked));
}

export const isBlocked = () => $("start-full").getAttribute("aria-disabled") === "true";

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
      return `Cancelled after ${done}.`;
    default:
      return cause(progress.error);
  }
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
