// Why orders need attention: every code of the system has words, and a thousand orders are a few groups.

import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { test } from "node:test";

import { adviceOf, groups, isFailure, isKnown, reason, titleOf } from "../assets/reasons.js";

const ROOT = path.join(import.meta.dirname ?? path.dirname(new URL(import.meta.url).pathname), "../../..");

function* files(folder, extension) {
  for (const entry of fs.readdirSync(path.join(ROOT, folder), { recursive: true, withFileTypes: true })) {
    const name = path.join(entry.parentPath ?? entry.path, entry.name);
    const isSource = entry.isFile() && name.endsWith(extension) && !name.includes(`${path.sep}tests`);
    if (isSource) yield fs.readFileSync(name, "utf8").split("#[cfg(test)]")[0];
  }
}

/** Reasons to skip an order, which needs nobody's attention. */
const SKIPS = ["no_valid_product", "other_location"];

/** Every code that a failure or an issue can have, as the sources name them. */
function codes() {
  const found = new Set();
  const collect = (text, pattern) => [...text.matchAll(pattern)].forEach(([, code]) => found.add(code));
  for (const folder of ["shared/domain", "shared/ghl", "shared/orders", "functions/run-worker", "functions/order-worker"]) {
    for (const text of files(folder, ".rs")) collect(text, /(?:Issue::new|with_issue)\(\s*"([a-z_]+)"/g);
  }
  for (const text of files("infra/supabase/schemas", ".sql")) {
    collect(text, /'code', (?:case [^']*)?'([a-z_]+)'/g);
    // The codes of what was kept, and of the comparison with the listing.
    collect(text, /when '([a-z_]+)' then '[A-Z]/g);
    collect(text, /values \(p_run, '([a-z_]+)', format/g);
  }
  for (const file of ["shared/orders/src/fetch.rs", "shared/ghl-client/src/error.rs"]) {
    const code = fs.readFileSync(path.join(ROOT, file), "utf8").split("fn code(&self)")[1].split("\n    }\n")[0];
    collect(code, /=> "([a-z_]+)"/g);
    collect(code, /=> \{\s*"([a-z_]+)"/g);
  }
  for (const name of ["dead-letters", "tickets", "order-worker"]) {
    for (const text of files(`functions/${name}/src`, ".rs")) collect(text, /(?:\bcode:|UNREADABLE: &str =) "([a-z_]+)"/g);
  }
  return found;
}

test("every code of a failure or an issue has a title and says what to do", () => {
  const found = codes();
  const some = ["ghl_unavailable", "partial_refund", "full_refund", "lines_unclear", "orders_not_listed", "no_outcome", "dead_letter"];
  for (const one of [...some, "unreadable_message", "quantity_refused", "over_validated"]) {
    assert.ok(found.has(one), `${one} isn't found in the sources any more: has the way to write codes changed?`);
  }
  assert.deepEqual([...found].filter((code) => !isKnown(code) && !SKIPS.includes(code)), []);
});

test("what nobody knows yet has words all the same", () => {
  for (const code of ["one_of_a_later_version", "constructor", null, undefined]) {
    assert.equal(isKnown(code), false);
    assert.equal(titleOf(code), "Other reasons");
    assert.match(adviceOf(code), /Retry once/);
  }
  assert.equal(reason({ code: "one_of_a_later_version" }), "one_of_a_later_version");
  assert.equal(reason({}), "No reason was given.");
  assert.equal(reason({ code: "order_not_found", reason: "As the server words it" }), "As the server words it");
});

test("orders are grouped by their reason, the largest group first and the unknown ones last", () => {
  const order = (code, at) => ({ orderId: `${code}${at}`, code });
  const items = ["x", "order_not_found", "y", "ghl_unavailable", "ghl_unavailable", "z"].map(order);
  assert.deepEqual(groups(items).map(({ code, items }) => [code, items.length]), [["ghl_unavailable", 2], ["order_not_found", 1], [null, 3]]);
  assert.deepEqual(groups([]), []);
});

test("what wasn't attempted hasn't failed", () => {
  assert.deepEqual([{ code: "not_attempted" }, { code: "internal" }, {}].map(isFailure), [false, true, true]);
});
