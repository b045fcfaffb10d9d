// Draws what needs attention: failures and issues grouped by their reason, each group with what to do about it. A group's rows
// are only made when it is opened, some at a time.

import { $, block, dotted, element, focusInstead, moment, quiet, renew } from "./elements.js";
import { count, plural } from "./format.js";
import { copyButton, historyButton, orderName } from "./orders.js";
import { adviceOf, groups, isOrder, reason, titleOf } from "./reasons.js";

const ROWS_AT_ONCE = 25;
// So few are shown at once.
const OPEN_UP_TO = 3;

/**
 * `failures`: each with `orderId`; `more`: there are others yet to be loaded. `retry(failure, button)` tries one again;
 * `mayNot`: why this user can't.
 */
export function showFailures(failures, { more, retry, mayNot }) {
  const shown = `${count(failures.length)}${more ? "+" : ""}`;
  $("failures-badge").hidden = failures.length === 0;
  $("failures-badge").textContent = shown;
  const orders = failures.filter(isOrder).length;
  $("retry-all").hidden = orders < 2;
  $("retry-all").textContent = more ? "Retry all" : `Retry all ${count(orders)}`;
  $("more-failures").hidden = !more;
  $("no-failures").hidden = failures.length > 0;
  Object.assign($("no-failures"), { textContent: "Nothing failed.", className: "fine" });
  showGroups($("failures-list"), failures, (failure) => failureRow(failure, retry, mayNot));
}

/** What was noticed in the last run: these orders are in step as far as their data goes. */
export function showIssues(issues, more) {
  $("issues-title").hidden = issues.length === 0;
  $("issues-title").textContent = `Noticed in the last run (${count(issues.length)}${more ? "+" : ""})`;
  showGroups($("issues-list"), issues, issueRow);
}

/** Groups stay as they are where they can, and with them what is open or focused. */
function showGroups(list, items, row) {
  const kept = new Map([...list.children].map((group) => [group.dataset.code, group]));
  const shown = groups(items).map(({ code, items: members }) => {
    const group = kept.get(code ?? "") ?? makeGroup(code, row, items.length <= OPEN_UP_TO);
    group.update(members);
    return group;
  });
  for (const group of kept.values()) if (!shown.includes(group)) group.remove();
  shown.forEach((group, at) => list.children[at] !== group && list.insertBefore(group, list.children[at] ?? null));
}

function makeGroup(code, row, isOpen) {
  const size = element("span", { className: "badge" });
  const general = quiet();
  const rows = element("ul", { className: "failures" });
  const more = element("button", { type: "button", className: "small" });
  const title = element("span", { className: "what" }, titleOf(code));
  const summary = element("summary", {}, title, size, element("span", { className: "quiet advice" }, adviceOf(code)));
  const details = element("details", { open: isOpen }, summary, general, rows, more);
  let items = [];
  let wanted = ROWS_AT_ONCE;

  const fill = () => {
    if (!details.open) return;
    renew(rows, items.slice(0, wanted), row);
    // Said once for all of them, where all say the same.
    const first = reason(items[0]);
    const isSame = items.length > 1 && items.every((item) => reason(item) === first);
    general.hidden = !isSame;
    general.textContent = isSame ? first : "";
    for (const why of rows.querySelectorAll(".why")) why.hidden = isSame;
    const left = items.length - wanted;
    more.hidden = left <= 0;
    more.textContent = `Show ${count(Math.min(left, ROWS_AT_ONCE))} more of ${count(left)}`;
  };
  details.addEventListener("toggle", fill);
  more.addEventListener("click", () => {
    const next = rows.childElementCount;
    wanted += ROWS_AT_ONCE;
    fill();
    focusInstead(more, rows, next);
  });
  const update = (members) => {
    items = members;
    size.textContent = count(members.length);
    fill();
  };
  return Object.assign(element("li", { "data-code": code ?? "", "data-testid": "group" }, details), { update });
}

function failureRow(failure, retry, mayNot) {
  const facts = dotted(
    failure.attempts > 0 && plural(failure.attempts, "attempt"),
    failure.lastTryAt && element("span", {}, "last ", moment(failure.lastTryAt)),
    failure.cause && `from ${failure.cause === "webhook" ? "a webhook" : failure.cause.replaceAll("_", " ")}`,
    failure.class === "transient" && "may pass by itself",
  );
  const button = element("button", { type: "button", className: "tiny", "aria-label": `Retry order ${failure.orderId}` }, "Retry");
  block(button, mayNot);
  button.addEventListener("click", () => retry(failure, button));
  return orderRow(failure, [quiet(...facts)], [button]);
}

const issueRow = (issue) => orderRow(issue, [], []);

/** The order's name, why it stands here, and what can be done. */
function orderRow(item, facts, buttons) {
  const tools = isOrder(item) ? [...buttons, historyButton(item.orderId), copyButton(item.orderId)] : [];
  return element(
    "li",
    { "data-testid": "failure" },
    isOrder(item) ? element("p", {}, orderName(item.orderId)) : null,
    element("p", { className: "why" }, reason(item)),
    ...facts,
    tools.length > 0 ? element("p", { className: "tools" }, ...tools) : null,
  );
}
