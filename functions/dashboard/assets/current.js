// Draws the current run: its status, its progress, and what can be done now.

import { $, block, dotted, moment, write } from "./elements.js";
import { left } from "./eta.js";
import { NOTHING, brokenOff, cause, count, duration, kind, plural, rate, secondsBetween, state as stateInWords } from "./format.js";
import {
  cooldownSeconds, doneOrders, failedPercent, isBrokenOff, isSyncing, ordersPercent, ticketsPercent, waitSeconds,
} from "./progress.js";

/**
 * `starting`, `cancelling`: it was asked for and no frame of it has come yet. `mayNot`: why this user can start and cancel
 * nothing, if so.
 */
export function showProgress(progress, { starting, cancelling, mayNot, now }) {
  // Not even that nothing runs is known.
  const isUntold = progress.seq < 0 && !starting;
  const status = starting ? "Starting" : isUntold ? "Loading" : progress.status;
  const cooldown = cooldownSeconds(progress, now);
  const wait = starting ? 0 : waitSeconds(progress, now);
  const syncing = isSyncing(progress) && !starting;
  const orders = starting ? null : ordersPercent(progress);
  const tickets = starting ? null : ticketsPercent(progress);
  const isKnown = !isUntold && status !== "Idle" && orders !== null;

  $("status").dataset.status = status;
  write("status", stateInWords(status));
  write("in-progress", isUntold ? NOTHING : starting || isSyncing(progress) ? "Yes" : "No");
  write("total-orders", isKnown ? count(progress.totalOrders) : NOTHING);
  write("synced-orders", isKnown ? count(progress.syncedOrders) : NOTHING);
  showKind(progress, starting);
  showPercent(isKnown ? orders : null);
  write("sentence", cancelling ? "Cancelling…" : sentence(progress, { status, cooldown, wait }));
  $("sentence").dataset.status = status;
  if (wait > 0) showCountdown(wait, progress.waitLength, "until GoHighLevel's limit lets the next orders through");
  else showCountdown(cooldown, progress.cooldownLength, "until the next sync can start");

  bar("orders-bar", orders);
  showFailedPart(orders ?? 0, isKnown ? failedPercent(progress) : 0);
  write("orders-count", isKnown ? `${count(progress.syncedOrders)} / ${count(progress.totalOrders)}` : "");
  write("orders-detail", starting ? "" : ordersDetail(progress));
  bar("tickets-bar", tickets);
  write("tickets-count", isKnown ? `${count(progress.totalTickets)} valid` : "");
  write("tickets-detail", starting ? "" : ticketsDetail(progress));

  write("rate", syncing ? rate(progress.ordersPerSecond) : averageRate(progress, starting));
  write("eta", syncing ? timeLeft(left(progress.eta, now)) : NOTHING);
  write("elapsed", starting || !progress.startTime ? NOTHING : duration(elapsed(progress, now)));

  const busy = isUntold ? "Loading…" : whyBusy(starting || isSyncing(progress), cooldown);
  showActions(progress, { syncing, starting, cancelling, mayNot: mayNot ?? busy });
  block($("cancel"), cancelling ? "The sync is being cancelled." : mayNot);
}

/** Only one run at a time. */
function whyBusy(running, cooldown) {
  if (running) return "A sync is running. Only one can run at a time.";
  return cooldown !== 0 ? "The last sync has just ended. The next can start in a moment." : null;
}

function showActions(progress, { syncing, starting, cancelling, mayNot }) {
  for (const button of document.querySelectorAll("[data-starts-run]")) block(button, mayNot);
  const [cancel, rest, dialog] = [$("cancel"), $("sync-rest"), $("cancel-dialog")];
  write(cancel, cancelling ? "Cancelling…" : "Cancel sync…");
  // A run that ended by itself leaves nothing to confirm.
  if (!syncing && dialog.open) dialog.close();
  const focused = document.activeElement;
  cancel.hidden = !syncing;
  rest.hidden = starting || !isBrokenOff(progress) || progress.notAttemptedOrders === 0;
  rest.dataset.run = progress.runId ?? "";
  // One button stands out: what is left is nearer than starting over.
  $("start-full").className = rest.hidden ? "primary" : "";
  // What is hidden loses the focus, and a person on the keyboard their place.
  if (focused?.hidden && (focused === cancel || focused === rest)) $("start-full").focus();
}

function showKind(progress, starting) {
  const isKnown = !starting && progress.startTime;
  const key = isKnown ? `${progress.kind} ${progress.startTime}` : "";
  if ($("run-kind").dataset.shown === key) return;
  $("run-kind").dataset.shown = key;
  $("run-kind").replaceChildren(...(isKnown ? dotted(kind(progress.kind), moment(progress.startTime, { focusable: true })) : []));
}

function showPercent(orders) {
  $("percent").hidden = orders === null;
  if (orders !== null && $("percent").firstChild.data !== String(orders)) $("percent").firstChild.data = String(orders);
}

function showCountdown(seconds, length, words) {
  $("countdown").hidden = !(seconds > 0);
  if (!(seconds > 0)) return;
  write("countdown-seconds", String(seconds));
  write("countdown-words", ` ${seconds === 1 ? "second" : "seconds"} ${words}`);
  $("countdown-ring").style.strokeDashoffset = String(100 - Math.min(100, (seconds / Math.max(seconds, length)) * 100));
}

/** Without a value a progress bar says "busy"; that is what it is while nothing is listed yet. */
function bar(id, percent) {
  if (percent === null) $(id).removeAttribute("value");
  else $(id).value = percent;
}

/** What failed takes its place in the bar behind what is in step. */
function showFailedPart(from, percent) {
  Object.assign($("failed-part").style, { insetInlineStart: `${from}%`, width: `${Math.min(percent, 100 - from)}%` });
}

function sentence(progress, { status, cooldown, wait }) {
  switch (status) {
    case "Loading":
      return "";
    case "Idle":
      return "Nothing has been synced yet. Press Start Manual Sync: it fetches every order and makes its tickets.";
    case "Starting":
      return "Asking for the first orders…";
    case "Syncing":
      if (wait > 0) return `Waiting for GoHighLevel's limit, ${wait} s`;
      return progress.totalOrders === 0 ? "Listing orders…" : `${plural(progress.totalOrders - doneOrders(progress), "order")} to go`;
    case "Delay":
      return cooldown !== 0 ? `${outcome(progress)} The next sync can start in a moment.` : "Finishing…";
    case "Completed":
      return outcome(progress);
    case "Cancelled":
      return `Cancelled. ${brokenOff(progress)}`;
    default:
      return [cause(progress.error).replace(/[.:]?$/, "."), brokenOff(progress)].join(" ");
  }
}

/** Failures first. */
function outcome({ syncedOrders, failedOrders }) {
  if (failedOrders === 0) return `${plural(syncedOrders, "order")} in step.`;
  return `${plural(failedOrders, "order")} failed, ${count(syncedOrders)} in step.`;
}

function ordersDetail(progress) {
  const parts = [
    progress.failedOrders > 0 && `${count(progress.failedOrders)} failed`,
    progress.notAttemptedOrders > 0 && `${count(progress.notAttemptedOrders)} not attempted`,
    progress.unchangedOrders > 0 && `${count(progress.unchangedOrders)} unchanged`,
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

function timeLeft(seconds) {
  if (seconds === null) return NOTHING;
  return seconds > 0 ? duration(seconds) : "soon";
}

function elapsed(progress, now) {
  if (progress.endTime) return Math.max(0, secondsBetween(progress.startTime, progress.endTime));
  // Counted from what the server told: this browser's clock may be minutes off.
  return Math.max(0, (now - (progress.begunAt ?? Date.parse(progress.startTime))) / 1000);
}

/** Of a run that came to its end: what was broken off, or over at once, has no speed. */
function averageRate(progress, starting) {
  if (starting || isBrokenOff(progress) || !progress.startTime || !progress.endTime) return NOTHING;
  const seconds = elapsed(progress, 0);
  // Skipped ones count, as in the speed of a run that goes on.
  return seconds < 1 ? NOTHING : rate((doneOrders(progress) + progress.skippedOrders) / seconds);
}
