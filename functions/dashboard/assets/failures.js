// Finds what failed and what was noticed: in the newest run, and outside of runs.

import { isFailure } from "./reasons.js";

/** Read at once: enough for most lists, so that the groups' counts are whole. During a run it is read again and again. */
export const PER_PAGE = 1_000;
const PER_PAGE_IN_RUN = 100;

/**
 * Failures of the run that weren't synced since, and those outside of runs: an order's latest word, once. `runId`: `null` if
 * none of the run is to be looked for.
 */
export async function findFailures(api, runId, wanted, isRunning) {
  const size = isRunning ? PER_PAGE_IN_RUN : PER_PAGE;
  const enough = isRunning ? size : wanted;
  const [ofRun, outside] = await Promise.all([
    runId ? atLeast(enough, (after) => api.run(runId, "failures", after, size)) : { list: [], more: false },
    atLeast(enough, (after) => api.failures(after, size)),
  ]);
  const byOrder = new Map();
  for (const failure of [...outside.list, ...ofRun.list]) {
    const other = byOrder.get(failure.orderId);
    if (!other || other.lastTryAt <= failure.lastTryAt) byOrder.set(failure.orderId, failure);
  }
  return { list: [...byOrder.values()], more: ofRun.more || outside.more };
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
