// Tells the end of a run to whoever isn't looking: a toast, the tab's title, and a notification if that was allowed.

import { $, announce, write } from "./elements.js";
import { cause, count, plural } from "./format.js";
import { isSyncing, ordersPercent } from "./progress.js";

const PAGE = "Data Synchronization";
let ended = null; // How the last run ended that this page has seen end.

/** The run has ended: the words for it, until the next one starts or somebody dismisses them. */
export function tellEnd(progress) {
  ended = inWords(progress);
  toast(ended);
  if (ended) notify(ended);
}

/** A run has started. */
export function forgetEnd() {
  ended = null;
  toast(null);
}

/** `{text, tone, title}`. A cancelled run's end is known to whoever cancelled it, and told to the others. */
function inWords(progress) {
  const { failedOrders, syncedOrders } = progress;
  if (progress.status === "Error") {
    return { text: `Sync failed: ${cause(progress.error) || "no reason was given"}`, tone: "error", title: "! Sync failed" };
  }
  if (progress.status === "Cancelled") return { text: "Sync cancelled.", tone: "plain", title: "Cancelled" };
  if (failedOrders > 0) {
    const text = `Sync completed, but ${plural(failedOrders, "order")} failed.`;
    return { text, tone: "error", title: `! ${count(failedOrders)} failed` };
  }
  return { text: "Sync completed successfully!", tone: "good", title: `✓ ${plural(syncedOrders, "order")}` };
}

function toast(end) {
  $("toast").hidden = end === null;
  if (end === null) return;
  $("toast").dataset.tone = end.tone;
  write("toast-text", end.text);
  announce(end.text);
}

$("toast-close").addEventListener("click", () => {
  forgetEnd();
  document.title = PAGE;
});

/** `(42 %) Data Synchronization`, then `✓ 159 orders · Data Synchronization`. */
export function showTitle(progress, starting) {
  const percent = ordersPercent(progress);
  if (!starting && isSyncing(progress)) document.title = percent === null ? `(…) ${PAGE}` : `(${percent} %) ${PAGE}`;
  else document.title = ended && !starting ? `${ended.title} · ${PAGE}` : PAGE;
}

// --- notifications

const permission = () => (typeof Notification === "undefined" ? "denied" : Notification.permission);

/** Offered during a run, to those who haven't answered yet. */
export function offerNotification(progress) {
  const focused = document.activeElement === $("notify");
  $("notify").hidden = !(isSyncing(progress) && permission() === "default");
  if (focused && $("notify").hidden) $("start-full").focus();
}

/** Asked on a click only; resolves to what becomes of it, in words. */
export async function allowNotification() {
  const answer = await Notification.requestPermission();
  if (answer === "granted") return "You will be notified when the sync is done.";
  return "This browser doesn't allow it. The tab's title tells when the sync is done.";
}

function notify({ text, title }) {
  if (permission() !== "granted" || (!document.hidden && document.hasFocus())) return;
  try {
    const shown = new Notification(title, { body: text, tag: "ghl-sync" });
    shown.onclick = () => (window.focus(), shown.close());
  } catch {
    // Phones allow it to service workers only. The toast and the title have told it.
  }
}
