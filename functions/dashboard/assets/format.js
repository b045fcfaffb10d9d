// Numbers and times in words. Nothing here touches the page.

const LANGUAGE = "en";
const number = new Intl.NumberFormat(LANGUAGE);
const decimal = new Intl.NumberFormat(LANGUAGE, { maximumFractionDigits: 1 });
const clock = new Intl.DateTimeFormat(LANGUAGE, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const instant = new Intl.DateTimeFormat(LANGUAGE, { dateStyle: "long", timeStyle: "long", hourCycle: "h23" });
const relative = new Intl.RelativeTimeFormat(LANGUAGE, { numeric: "auto" });

export const NOTHING = "–";

export const count = (value) => number.format(value ?? 0);

/** `1 order`, `2 orders`. */
export const plural = (value, word) => `${count(value)} ${word}${value === 1 ? "" : "s"}`;

export const rate = (perSecond) => (perSecond > 0 ? `${decimal.format(perSecond)}/s` : NOTHING);

/** `0:07`, `12:30`, `3:05:00`. */
export function duration(seconds) {
  if (!Number.isFinite(seconds) || seconds < 0) return NOTHING;
  const whole = Math.round(seconds);
  const two = (value) => String(value).padStart(2, "0");
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  return hours > 0 ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}

export function secondsBetween(start, end) {
  return (Date.parse(end) - Date.parse(start)) / 1000;
}

const UNITS = [["year", 365 * 86_400], ["month", 30 * 86_400], ["day", 86_400], ["hour", 3_600], ["minute", 60]];

/** `just now`, `3 minutes ago`, `yesterday`; a time ahead is that of a clock which is wrong, and counts as now. */
export function ago(time, now) {
  const passed = (now - Date.parse(time)) / 1000;
  if (Number.isNaN(passed)) return NOTHING;
  const [unit, length] = UNITS.find(([, length]) => passed >= length) ?? [];
  return unit ? relative.format(-Math.floor(passed / length), unit) : "just now";
}

/** `November 21, 2026 at 20:41:07 GMT+1`. */
export function exactly(time) {
  const at = new Date(time ?? NaN);
  return Number.isNaN(at.getTime()) ? NOTHING : instant.format(at);
}

/** `20:41:07`. */
export const clockTime = (milliseconds) => clock.format(milliseconds);

/** `12.50 USD`: the currency as it was sent, since it may be none. */
export const money = (amount, currency) => [amount, currency].filter((part) => part !== null && part !== undefined && part !== "").join(" ") || NOTHING;

const KINDS = { full: "Full sync", incremental: "Changes", valid_list: "Valid order list", retry: "Retry" };
export const kind = (value) => KINDS[value] ?? "Sync";

const STATES = {
  Loading: "Loading…",
  Idle: "Ready",
  Starting: "Starting…",
  Syncing: "Syncing",
  Delay: "Cooling down",
  Completed: "Completed",
  Error: "Error",
  Cancelled: "Cancelled",
  Skipped: "Skipped",
};
export const state = (value) => STATES[value] ?? value;

// Names of kinds within a sentence.
const SYNCS = { full: "full sync", incremental: "incremental sync", valid_list: "listing of valid orders", retry: "retry" };

const SKIPPED_BECAUSE = {
  running: "another sync was running",
  cooldown: "the previous sync had only just ended",
  daily_budget: "too little of GoHighLevel's daily budget was left",
};
const skippedBecause = (run) => SKIPPED_BECAUSE[run.errorCode] ?? lowerFirst(cause(run.error) || "no reason was given");

export const lowerFirst = (text) => text.charAt(0).toLowerCase() + text.slice(1);

/** `Scheduled incremental sync skipped: another sync was running.` */
export function skipInWords(run) {
  const sync = SYNCS[run.kind] ?? "sync";
  const which = run.requestedBy === "schedule" ? `Scheduled ${sync}` : sync.charAt(0).toUpperCase() + sync.slice(1);
  return `${which} skipped: ${skippedBecause(run)}.`;
}

/** What went wrong, as the server words it; `error` is a text or `{code, message}`. */
export const cause = (error) => (typeof error === "string" ? error : (error?.message ?? ""));

/** `0 of 98 orders were synced; 2 failed; 98 weren't attempted.`: a run that broke off. */
export function brokenOff({ syncedOrders, failedOrders, totalOrders, notAttemptedOrders: left }) {
  if (totalOrders === 0) return "No order was synced.";
  const parts = [
    `${count(syncedOrders)} of ${plural(totalOrders, "order")} ${totalOrders === 1 ? "was" : "were"} synced`,
    failedOrders > 0 && `${count(failedOrders)} failed`,
    left > 0 && `${count(left)} ${left === 1 ? "wasn't" : "weren't"} attempted`,
  ];
  return `${parts.filter(Boolean).join("; ")}.`;
}
