// Finds what failed, in runs and outside of them, and what was noticed in one.

import { isFailure } from "./reasons.js";

/** Read at once: enough for most lists, so that the groups' counts are whole. During a run it is read again and again. */
export const PER_PAGE = 1_000;
const PER_PAGE_IN_RUN = 100;

/** Failures of these runs that weren't synced since, and those outside of runs: an order's latest word, once. */
export async function findFailures(api, runIds, wanted, isRunning) {
  // During a run fewer, unless somebody has asked for more.
  const isBrief = isRunning && wanted <= PER_PAGE;
  const size = isBrief ? PER_PAGE_IN_RUN : PER_PAGE;
  const enough = isBrief ? size : wanted;
  const found = await Promise.all([
    atLeast(enough, (after) => api.failures(after, size)),
    ...runIds.map((runId) => atLeast(enough, (after) => api.run(runId, "failures", after, size))),
  ]);
  const byOrder = new Map();
  for (const failure of found.flatMap(({ list }) => list)) {
    const other = byOrder.get(failure.orderId);
    if (!other || other.lastTryAt <= failure.lastTryAt) byOrder.set(failure.orderId, failure);
  }
  return { list: [...byOrder.values()], more: found.some(({ more }) => more) };
}

/** Reads page by page until so many orders are found that still fail. */
async function atLeast(wanted, load) {
  const list = [];
  let next;
  do {
    const page = await load(next);
    list.push(...page.failures.filter((failure) => isFailure(failure) && !failure.resolvedAt));
    next = page.next;
  } while (next && list.length < wanted);
  return { list, more: Boolean(next) };
}

/** The first page of what was noticed in a run. */
export async function findIssues(api, runId) {
  if (!runId) return { list: [], more: false };
  const page = await api.run(runId, "issues", undefined, PER_PAGE);
  return { list: page.issues, more: Boolean(page.next) };
}
