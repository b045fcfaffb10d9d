// An order wherever it is named: a link to it in GoHighLevel, a button that copies its id, and one that tells its history.

import { $, announce, element, quiet, whileBlocked } from "./elements.js";

const COPIED_FOR_MS = 2_000;

let config = {};
let load = null;

/** `loadHistory(orderId, before)` fetches a page of an order's history. */
export function setUpOrders(deployment, loadHistory) {
  config = deployment;
  load = loadHistory;
}

/** Where GoHighLevel shows an order; `null` where this deployment names no such address. */
export function orderUrl(orderId, { ghlOrderUrl, locationId } = config) {
  if (!ghlOrderUrl) return null;
  const filled = [["{orderId}", orderId], ["{locationId}", locationId]].reduce(
    (url, [place, id]) => url.replaceAll(place, () => encodeURIComponent(id)),
    ghlOrderUrl,
  );
  return filled.startsWith("https://") ? filled : null;
}

export function orderName(orderId) {
  const id = element("code", {}, orderId);
  const href = orderUrl(orderId);
  if (!href) return id;
  const where = element("span", { className: "sr-only" }, " in GoHighLevel, in a new tab");
  return element("a", { href, target: "_blank", rel: "noreferrer", title: "Opens the order in GoHighLevel" }, id, where);
}

export function copyButton(orderId) {
  const button = element("button", { type: "button", className: "tiny" });
  const say = (words) => {
    button.textContent = words;
    button.setAttribute("aria-label", `${words} of order ${orderId}`);
    return button;
  };
  button.addEventListener("click", async () => {
    const copied = await navigator.clipboard.writeText(orderId).then(() => true, () => false);
    say(copied ? "Copied id" : "Can't copy id");
    announce(copied ? `Copied ${orderId}` : "This browser doesn't let pages copy.");
    setTimeout(() => say("Copy id"), COPIED_FOR_MS);
  });
  return say("Copy id");
}

export function historyButton(orderId) {
  const button = element("button", { type: "button", className: "tiny", "aria-label": `History of order ${orderId}` }, "History");
  button.addEventListener("click", () => whileBlocked(button, () => openHistory(orderId)));
  return button;
}

/** What a history looks like is only loaded when somebody asks for one. */
async function openHistory(orderId) {
  $("order-title").replaceChildren("Order ", orderName(orderId));
  // Of its own: another order may be on show when this answer comes.
  const body = element("div", {}, quiet("Loading…"));
  $("order-body").replaceChildren(body);
  $("order-dialog").showModal();
  try {
    const { showHistory } = await import("./order.js").catch(() => {
      throw new Error("A part of this page couldn't be loaded. Load the page again: the server may have a newer one.");
    });
    await showHistory(body, [copyButton(orderId)], (before) => load(orderId, before));
  } catch (error) {
    body.replaceChildren(element("p", { className: "problem", role: "alert" }, error.inWords ?? error.message));
  }
}

$("order-close").addEventListener("click", () => $("order-dialog").close());
