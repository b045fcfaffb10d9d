// Calls to the admin API. Every failure becomes an ApiError whose text a person can act on.

const TIMEOUT_MS = 35_000;

export class ApiError extends Error {
  constructor(message, { status = 0, code = "network", requestId = null, retryAfter = null, body = {} } = {}) {
    super(message);
    Object.assign(this, { status, code, requestId, retryAfter, body });
  }

  /** With the reference that finds the request in the logs. */
  get inWords() {
    return this.requestId ? `${this.message} (reference ${this.requestId})` : this.message;
  }
}

// The gateway answers these itself, in its own form and in words for programmers.
const GATEWAY = {
  401: "Your session has ended. Sign in again.",
  403: "Your session has ended, or this account may not use the dashboard. Sign in again.",
  404: "This deployment doesn't offer that.",
  429: "Too many requests. Wait a moment, then try again.",
};

export class Api {
  #session;
  #onSignedOut;

  constructor(session, onSignedOut) {
    this.#session = session;
    this.#onSignedOut = onSignedOut;
  }

  status = () => this.#call("GET", "api/qrapp/sync-status");
  runs = (before) => this.#call("GET", `api/qrapp/runs?${query({ limit: 20, before })}`);
  run = (id, only, after, limit = 100) => this.#call("GET", `api/qrapp/runs/${encodeURIComponent(id)}?${query({ only, limit, after })}`);
  failures = (after, limit = 100) => this.#call("GET", `api/qrapp/failures?${query({ limit, after })}`);
  history = (orderId, before) => this.#call("GET", `api/qrapp/orders/${encodeURIComponent(orderId)}/history?${query({ before })}`);
  start = (mode) => this.#call("POST", `api/ghl/orders/sync?${query({ mode })}`);
  cancel = () => this.#call("POST", "api/ghl/orders/sync/cancel");
  syncOrder = (id) => this.#call("POST", `api/ghl/orders/${encodeURIComponent(id)}`);
  /** Without `orderIds`: what failed in the run or wasn't attempted. */
  retry = (runId, orderIds) => this.#call("POST", `api/qrapp/runs/${encodeURIComponent(runId)}/retry`, { orderIds });
  ticket = () => this.#call("POST", "api/qrapp/ws-ticket");

  async #call(method, path, body, again = true) {
    // Signed out meanwhile: whoever did so needn't be told.
    if (!this.#session.signedIn) throw new ApiError(GATEWAY[401], { status: 401 });
    const token = await this.#session.token().catch(unreachable);
    if (!token) {
      // The sign-in service has just refused to renew it.
      const ended = new ApiError(GATEWAY[401], { status: 401 });
      this.#onSignedOut(ended);
      throw ended;
    }
    const headers = { accept: "application/json", authorization: `Bearer ${token}` };
    if (body) headers["content-type"] = "application/json";
    let answer;
    try {
      // Relative to the page: the API may live under a path.
      answer = await fetch(new URL(path, document.baseURI), {
        method,
        headers,
        body: body && JSON.stringify(body),
        cache: "no-store",
        signal: AbortSignal.timeout(TIMEOUT_MS),
      });
    } catch {
      throw new ApiError("The server can't be reached. Check your connection.");
    }
    const json = await answer.json().catch(() => ({}));
    if (answer.ok) {
      this.#session.accepted();
      return json;
    }
    const isLeft = !this.#session.signedIn;
    // The gateway's own 403 (it has no code) means that the authorizer refused the token; ours means that the role doesn't suffice.
    const refused = answer.status === 401 || (answer.status === 403 && !json.code);
    // Nothing was done: with another token it is asked once more.
    if (refused && again && (await this.#session.hasOtherThan(token).catch(unreachable))) {
      return this.#call(method, path, body, false);
    }
    const ended = refused && this.#session.hasEnded;
    const gateway = GATEWAY[ended ? 401 : answer.status];
    const error = new ApiError(json.error ?? gateway ?? `The server answered ${answer.status}. Try again in a moment.`, {
      status: answer.status,
      code: json.code ?? "unknown",
      requestId: json.requestId ?? answer.headers.get("apigw-requestid"),
      retryAfter: Number(json.retryAfterSeconds ?? answer.headers.get("retry-after")) || null,
      body: json,
    });
    if (refused) {
      error.status = 401;
      if (!isLeft) this.#onSignedOut(error);
    }
    throw error;
  }
}

// The sign-in service doesn't answer: as with the server itself, nobody is signed out by that.
function unreachable(error) {
  throw new ApiError(error.message);
}

function query(values) {
  return new URLSearchParams(Object.entries(values).filter(([, value]) => value !== undefined && value !== null));
}
