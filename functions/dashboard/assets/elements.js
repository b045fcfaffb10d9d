// The means of drawing. Text enters the page as text only.

import { ago, exactly } from "./format.js";

export const $ = (id) => document.getElementById(id);

/** A new element: `element("p", { className: "quiet" }, "text", child)`. Properties with a dash become attributes, as does `role`. */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role") made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== "" && child !== false));
  return made;
}

export const quiet = (...children) => element("p", { className: "quiet" }, ...children);

/** Named values: `[name, value, bad]`. */
export function figures(rows, className = "summary") {
  const row = ([name, value, bad]) =>
    element("div", bad ? { className: "bad" } : {}, element("dt", {}, name), element("dd", {}, value));
  return element("dl", { className }, ...rows.map(row));
}

/** A moment as `3 minutes ago`; exact where the mouse is, and where the keyboard is (`focusable`, or its focused ancestor). */
export function moment(time, { focusable = false } = {}) {
  if (Number.isNaN(Date.parse(time))) return "–";
  const made = element("time", { dateTime: time, title: exactly(time), "data-exact": exactly(time) }, ago(time, Date.now()));
  if (focusable) made.tabIndex = 0;
  return made;
}

/** What was 3 minutes ago is 4 minutes ago a minute later. */
export function renewMoments() {
  for (const shown of document.querySelectorAll("time")) write(shown, ago(shown.dateTime, Date.now()));
}

/** Parts with a dot between them; those that are false are left out. */
export function dotted(...parts) {
  return parts.filter(Boolean).flatMap((part, at) => (at === 0 ? [part] : [" · ", part]));
}

/** A button that does nothing now stays where it is, keeps the focus, and says why; `null` frees it. */
export function block(button, why) {
  button.setAttribute("aria-disabled", String(Boolean(why)));
  button.title = why ?? "";
}

export const isBlocked = (button) => button.getAttribute("aria-disabled") === "true";

/** Does `work`, which tells its failures itself; meanwhile the button does nothing. */
export async function whileBlocked(button, work) {
  if (isBlocked(button)) return;
  block(button, "One moment…");
  await work();
  block(button, null);
}

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
export function write(where, text) {
  const shown = typeof where === "string" ? $(where) : where;
  if (shown.textContent !== text) shown.textContent = text;
}

/** The button that brought more is gone with the last of them: its place takes the first row that it brought. */
export function focusInstead(button, list, at) {
  const row = list.children[at];
  if (!button.hidden || !row) return;
  const place = row.querySelector("a, button, summary") ?? Object.assign(row, { tabIndex: -1 });
  place.focus();
}

/** For screen readers only. The same words again are heard again. Outside of an open dialog nothing is heard. */
export function announce(text) {
  const announcer = document.querySelector("dialog[open] .announcer") ?? $("announcer");
  announcer.textContent = "";
  requestAnimationFrame(() => (announcer.textContent = text));
}
