// Draws who is signed in, how the connection is, and messages: everything around the board.

import { clockTime } from "./format.js";
import { $, announce, element, quiet, renew, write } from "./elements.js";

export function notice(text, tone = "error") {
  $("notice").hidden = !text;
  $("notice").dataset.tone = tone;
  write("notice-text", text ?? "");
}

/** A notice that is over is taken away, unless another has taken its place. */
export function dismissed(complaint) {
  if (complaint && $("notice-text").textContent === complaint.text) notice(null);
}

const CONNECTION = {
  connecting: "Connecting…",
  live: "Live",
  silent: "No answer",
  waiting: "Reconnecting…",
  stopped: "Not connected",
};

const UNHEARD_AFTER_MS = 3_000;
let unheard = null;
let lost = false;

/**
 * Without a live connection what stands on the board turns grey, and says since when: "Ready" may be long past. A connection
 * that is only made anew has a moment for it. `heardAt`: when the last word came, in milliseconds; `null`: none yet.
 */
export function showConnection(connection, heardAt) {
  $("connection").dataset.state = connection;
  if (connection !== "connecting") lost = connection === "waiting";
  // One word for all attempts until one succeeds: it is read aloud.
  write("connection", CONNECTION[lost ? "waiting" : connection]);
  if (connection === "live") {
    clearTimeout(unheard);
    unheard = null;
    showHeard(true);
  } else if (connection === "silent") showHeard(false, heardAt);
  else unheard ??= setTimeout(() => showHeard(false, heardAt), UNHEARD_AFTER_MS);
}

function showHeard(isHeard, heardAt) {
  $("board").dataset.heard = isHeard ? "yes" : "no";
  $("unheard").hidden = isHeard;
  const since = heardAt ? `since ${clockTime(heardAt)}` : "yet";
  write("unheard", isHeard ? "" : `No live updates ${since}. What stands here may be past; the connection is being restored.`);
}

let known = [];

/** What keeps the system from working, each `{code, message, action?}`. Read aloud once: their words change with the time. */
export function showProblems(problems) {
  const others = problems.filter(({ code }) => !known.includes(code));
  known = problems.map(({ code }) => code);
  if (others.length > 0) announce(others.map(({ message }) => message).join(" "));
  $("problems").hidden = problems.length === 0;
  renew($("problems"), problems, ({ code, message, action }) =>
    element("li", { "data-code": code }, element("p", {}, element("b", {}, message)), action ? element("p", {}, action) : null),
  );
}

/** The lists as before anything was read: what stood there was for somebody else to see and to press. */
export function clearBoard() {
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
  for (const id of ["failures-list", "issues-list", "runs", "order-body"]) $(id).replaceChildren();
  for (const id of ["issues-title", "failures-badge", "retry-all", "more-failures", "older"]) $(id).hidden = true;
  Object.assign($("no-failures"), { hidden: false, textContent: "Loading…", className: "quiet" });
  $("last-run").replaceChildren(quiet("Loading…"));
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
