// Numbers and times in words. Nothing here touches the page.

const LANGUAGE = "en";
const number = new Intl.NumberFormat(LANGUAGE);
const decimal = new Intl.NumberFormat(LANGUAGE, { maximumFractionDigits: 1 });
const clock = new Intl.DateTimeFormat(LANGUAGE, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const date = new Intl.DateTimeFormat(LANGUAGE, { day: "numeric", month: "short" });

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

/** `20:41` today, `21 Nov, 20:41` on other days. */
export function moment(time, now = new Date()) {
  const at = new Date(time ?? NaN);
  if (Number.isNaN(at.getTime())) return NOTHING;
  const today = at.toDateString() === now.toDateString();
  return today ? clock.format(at) : `${date.format(at)}, ${clock.format(at)}`;
}

const KINDS = { full: "Full sync", incremental: "Changes", valid_list: "Valid order list", retry: "Retry" };
export const kind = (value) => KINDS[value] ?? "Sync";

const STATES = {
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

const CAUSES = {
  not_attempted: "Not attempted: the run stopped before it was this order's turn.",
  order_not_found: "GoHighLevel doesn't know this order.",
  no_valid_product: "Has no product of ours.",
  other_location: "Belongs to another location.",
};
export const reason = (item) => item.reason || CAUSES[item.code] || item.message || item.code || "No reason was given.";
