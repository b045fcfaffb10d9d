// Judges the dashboard with Lighthouse, signed out and signed in: `node lighthouse.mjs <folder for reports>`.
//
// As PageSpeed Insights does for phones: a small screen, and the page's load reckoned for a slow 4G line and a processor four times as
// slow ("simulate"). Each page is loaded three times and the run in the middle counts, since the machine may be busy. The session is
// entered by an address that signs in once, so that no token is in a report.
//
// Environment: MODULES (Lighthouse's), CHROMIUM, PAGE, SIGN_IN.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const { MODULES, CHROMIUM, PAGE, SIGN_IN } = process.env;
const load = (path) => import(pathToFileURL(join(MODULES, path)).href);
const { default: lighthouse, generateReport } = await load("lighthouse/core/index.js");
const { computeMedianRun } = await load("lighthouse/core/lib/median-run.js");
const { default: puppeteer } = await load("puppeteer-core/lib/esm/puppeteer/puppeteer-core.js");

const RUNS = 3;
const CATEGORIES = ["performance", "accessibility", "best-practices"];
const TIMES = { "first-contentful-paint": "first paint", "largest-contentful-paint": "largest paint", "total-blocking-time": "blocked", "cumulative-layout-shift": "shift", "speed-index": "speed index" };
/** Tells what an audit only counts. */
const CAUSES = { "cumulative-layout-shift": "layout-shifts", "total-blocking-time": "long-tasks" };

const per100 = (category) => Math.round(category.score * 100);

async function judge(page, name) {
  const runs = [];
  for (let run = 0; run < RUNS; run++) {
    // The session is in the tab's storage, which stays.
    const flags = { onlyCategories: CATEGORIES, disableStorageReset: true, throttlingMethod: "simulate", logLevel: "error" };
    const { lhr } = await lighthouse(PAGE, flags, undefined, page);
    if (lhr.runtimeError) throw new Error(`${name}: ${lhr.runtimeError.message}`);
    runs.push(lhr);
  }
  const lhr = computeMedianRun(runs);
  writeFileSync(join(process.argv[2], `${name.replaceAll(" ", "-")}.html`), generateReport(lhr, "html"));
  const categories = CATEGORIES.map((id) => lhr.categories[id]);
  console.log(`${name.padEnd(12)}${categories.map((category) => `${category.title} ${per100(category)}`).join("   ")}`);
  const times = Object.entries(TIMES).map(([id, words]) => `${words} ${lhr.audits[id].displayValue}`);
  const sent = `${Math.round(lhr.audits["total-byte-weight"].numericValue / 1000)} kB`;
  // How fast this machine was meanwhile: below a thousand, what it was busy with is counted as the page's.
  console.log(`            ${[...times, sent, `machine ${Math.round(lhr.environment.benchmarkIndex)}`].join("   ")}`);
  for (const category of categories) {
    for (const { id, weight } of category.auditRefs) {
      const audit = lhr.audits[id];
      if (weight === 0 || audit.score === null || audit.score >= 0.995) continue;
      console.log(`            ${category.id}: ${id} ${audit.score} ${audit.displayValue ?? ""}: ${audit.title}`);
      const details = lhr.audits[CAUSES[id] ?? id]?.details;
      for (const item of details?.items?.slice(0, 5) ?? []) {
        const where = item.node?.selector ?? item.url ?? item.source ?? item.sourceLocation?.url;
        const what = item.description ?? item.node?.explanation ?? item.duration?.toFixed(0) ?? item.score?.toFixed(3) ?? "";
        if (where) console.log(`              ${where} ${what}`);
      }
    }
  }
  return categories.every((category) => per100(category) === 100);
}

const browser = await puppeteer.launch({
  executablePath: CHROMIUM,
  // Chromium refuses its sandbox to root, as in a container.
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-sync"],
});
try {
  const page = await browser.newPage();
  const isGood = await judge(page, "signed out");
  await page.goto(SIGN_IN);
  await page.waitForSelector("#board:not([hidden])");
  if (!((await judge(page, "signed in")) && isGood)) process.exitCode = 1;
} finally {
  await browser.close();
}
