// Draws who is signed in, how the connection is, and messages: everything around the board.

import { clockTime } from "./format.js";
import { $, element, renew, write } from "./elements.js";

export function notice(text, tone = "error") {
  $("notice").hidden = !text;
  $("notice").dataset.tone = tone;
  write("notice-text", text ?? "");
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

/**
 * Without a live connection what stands on the board turns grey, and says since when: "Ready" may be long past. A connection
 * that is only made anew has a moment for it. `heardAt`: when the last word came, in milliseconds; `null`: none yet.
 */
export function showConnection(connection, heardAt) {
  $("connection").dataset.state = connection;
  write("connection", CONNECTION[connection]);
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

/** What keeps the system from working, each `{code, message, action?}`. */
export function showProblems(problems) {
  $("problems").hidden = problems.length === 0;
  renew($("problems"), problems, ({ code, message, action }) =>
    element("li", { "data-code": code }, element("p", {}, element("b", {}, message)), action ? element("p", {}, action) : null),
  );
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
