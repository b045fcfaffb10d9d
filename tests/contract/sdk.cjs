// GHL's own client, called as a test says: JSON in, JSON out.
//
// node sdk.cjs <node_modules>, and on standard input {baseURL, token, options?, calls: [[service, method, params]...]}. For each call
// there is an answer in its place: {ok} with what the client returned, or {error} with what it threw. It prints no token.
"use strict";

const { createRequire } = require("node:module");
const { readFileSync } = require("node:fs");
const { join } = require("node:path");

const { HighLevel, GHLError } = createRequire(join(process.argv[2], "index.js"))("@gohighlevel/api-client");

async function call(client, baseURL, [service, method, params]) {
  try {
    return { ok: await client[service][method](params, { baseURL }) };
  } catch (error) {
    if (!(error instanceof GHLError)) throw error;
    const { code, message, statusCode, rateLimit, response } = error;
    return { error: { type: error.constructor.name, code, message, statusCode, rateLimit, response } };
  }
}

async function main() {
  const { baseURL, token, options, calls } = JSON.parse(readFileSync(0, "utf8"));
  const client = new HighLevel({ privateIntegrationToken: token, logLevel: "none", ...options });
  const answers = [];
  // One after the other: the order is the test's.
  for (const each of calls) answers.push(await call(client, baseURL, each));
  return JSON.stringify(answers);
}

// Nothing that the client left running keeps the process.
main().then(
  (said) => process.stdout.write(said, () => process.exit(0)),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
