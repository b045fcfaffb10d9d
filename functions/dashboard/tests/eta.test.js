// The time left, as it is shown.

import assert from "node:assert/strict";
import { test } from "node:test";

import { NO_ETA, aim, left } from "../assets/eta.js";

/** What is shown each second while frames say `told[second]`; `undefined`: no frame. */
function shown(told) {
  let eta = NO_ETA;
  return told.map((seconds, at) => {
    if (seconds !== undefined) eta = aim(eta, seconds, at * 1_000);
    return left(eta, at * 1_000);
  });
}

const isFalling = (values) => values.every((value, at) => at === 0 || value <= values[at - 1]);

test("it counts down by itself", () => {
  assert.deepEqual(shown([10, undefined, undefined, undefined]), [10, 9, 8, 7]);
  assert.deepEqual(shown([2, undefined, undefined, undefined]), [2, 1, 0, 0]);
});

test("small rises make it slower, and never make it jump up", () => {
  const wavering = shown([20, 22, 18, 20, 19, 16, 17, 15]);
  assert.ok(isFalling(wavering), String(wavering));
  assert.deepEqual(shown([20, undefined, 22, undefined, undefined, undefined, undefined]), [20, 19, 18, 18, 17, 17, 16]);
  const late = shown([20, 20, 20, 20, 20, 20]);
  assert.ok(isFalling(late) && late.at(-1) >= 16, String(late));
});

test("a smaller value is reached soon", () => {
  const falling = shown([60, 30, 29, 28, 27, 26, 25]);
  assert.ok(isFalling(falling) && falling.at(-1) <= 28, String(falling));
});

test("a rise that is no small one is believed at once", () => {
  assert.deepEqual(shown([10, 60, undefined]), [10, 60, 59]);
});

test("nobody knows, and then somebody does", () => {
  assert.deepEqual(shown([null, 5, null, 5]), [null, 5, null, 5]);
});
