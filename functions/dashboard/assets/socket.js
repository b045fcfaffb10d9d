// The live connection: opened with a fresh ticket each time, watched, and opened again when it drops.

// Asked after so long without a word: only an answer tells that the session has ended, since no more frames looks like nothing to
// tell. It also keeps API Gateway from closing after 10 idle minutes.
const ASK_AFTER_MS = 10_000;
// Live is what was heard of within this time.
const SILENT_AFTER_MS = 15_000;
const GIVE_UP_AFTER_MS = 25_000;
const OPEN_WITHIN_MS = 10_000;
const ANSWER_AT_ONCE_MS = 5_000;
// The snapshot also brings what no frame tells.
const SNAPSHOT_EVERY_MS = 60_000;
const AFTER_ERROR_MS = 10_000;
const STEADY_AFTER_MS = 10_000;
const BACK_OFF = { first: 500, most: 30_000 };
const LONGEST_TIMER_MS = 2 ** 31 - 1;

export class LiveUpdates {
  #options;
  #socket = null;
  #state = "stopped";
  #attempt = 0;
  #heard = false; // A good frame, since the last time that a session's end made it connect anew.
  #heardAt = null;
  #timers = {};
  #generation = 0;

  /**
   * `url`: where to connect. `ticket()`: resolves to `{ticket, ends}`, a fresh ticket and when its session ends, in milliseconds.
   * `onFrame(frame)`: something was received.
   * `onState(state)`: `connecting`, `live`, `silent` (connected, and no answer), `waiting` (to reconnect) or `stopped`.
   */
  constructor(options) {
    this.#options = options;
    addEventListener("online", () => this.#wake());
    addEventListener("pagehide", () => this.#leave());
    addEventListener("pageshow", () => this.#wake());
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && this.#wake());
  }

  /** When the last word came, in milliseconds; `null`: none yet. */
  get heardAt() {
    return this.#heardAt;
  }

  start() {
    if (this.#state === "stopped") this.#connect();
  }

  stop() {
    this.#drop();
    this.#attempt = 0;
    this.#enter("stopped");
  }

  /** After sleep or a lost network a socket can look open and be dead: ask it; and don't sit out a back-off. */
  #wake() {
    if (this.#state === "waiting") return this.#connect();
    if (this.#state !== "live" && this.#state !== "silent") return;
    if (Date.now() - this.#heardAt >= SILENT_AFTER_MS) this.#enter("silent");
    this.#ask("ping");
    this.#after("silent", ANSWER_AT_ONCE_MS, () => this.#enter("silent"));
  }

  async #connect() {
    this.#drop();
    const generation = this.#generation;
    this.#enter("connecting");
    let ticket;
    let ends;
    try {
      ({ ticket, ends } = await this.#options.ticket());
    } catch (error) {
      if (generation === this.#generation) this.#retry(error.retryAfter);
      return;
    }
    if (generation !== this.#generation) return;

    const url = new URL(this.#options.url);
    url.searchParams.set("ticket", ticket);
    const socket = (this.#socket = new WebSocket(url));
    this.#after("giveUp", OPEN_WITHIN_MS, () => this.#retry());
    socket.onopen = () => {
      // An open connection isn't live yet: the answer to this is the first thing that is heard.
      this.#ask("status");
      this.#after("giveUp", OPEN_WITHIN_MS, () => this.#retry());
      this.#timers.snapshot = setInterval(() => this.#ask("status"), SNAPSHOT_EVERY_MS);
      // The session may have a new token by now; what counts for this connection is the one it was opened with.
      const left = ends - Date.now();
      if (left > 0) this.#after("end", Math.min(left, LONGEST_TIMER_MS), () => this.#renew());
    };
    socket.onmessage = ({ data }) => {
      const frame = parse(data);
      if (frame?.event === "error" && frame.data?.code === "session_ended") return this.#renew();
      this.#hear();
      if (!frame?.event) return;
      this.#heard ||= frame.event !== "error";
      if (frame.event === "error") this.#after("again", AFTER_ERROR_MS, () => this.#ask("status"));
      if (frame.event !== "pong") this.#options.onFrame(frame);
    };
    socket.onclose = () => this.#retry();
  }

  /** Something came: it is live, until nothing more comes. */
  #hear() {
    this.#heardAt = Date.now();
    if (this.#state === "connecting") this.#after("steady", STEADY_AFTER_MS, () => (this.#attempt = 0));
    this.#enter("live");
    this.#after("ask", ASK_AFTER_MS, () => this.#ask("ping"));
    this.#after("silent", SILENT_AFTER_MS, () => this.#enter("silent"));
    this.#after("giveUp", GIVE_UP_AFTER_MS, () => this.#retry());
  }

  /** The session ended: with a fresh ticket at once, or by the back-off if the one before was of no use either. */
  #renew() {
    if (!this.#heard) return this.#retry();
    this.#heard = false;
    this.#connect();
  }

  #ask(action) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify({ action }));
  }

  #retry(afterSeconds) {
    this.#drop();
    const ceiling = Math.min(BACK_OFF.most, BACK_OFF.first * 2 ** this.#attempt++);
    // Jitter, so that all dashboards don't come back at the same moment.
    const delay = Math.max(ceiling * (0.5 + Math.random() / 2), (afterSeconds ?? 0) * 1000);
    this.#after("retry", delay, () => this.#connect());
    this.#enter("waiting");
  }

  /** A browser may keep a page that was left, to show it again at once: meanwhile nobody looks on. */
  #leave() {
    if (this.#state === "stopped") return;
    this.#drop();
    this.#state = "waiting";
  }

  #drop() {
    this.#generation += 1;
    for (const timer of Object.values(this.#timers)) clearTimeout(timer);
    this.#timers = {};
    if (!this.#socket) return;
    this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close();
    this.#socket = null;
  }

  #after(name, delay, action) {
    clearTimeout(this.#timers[name]);
    this.#timers[name] = setTimeout(action, delay);
  }

  #enter(state) {
    if (state === this.#state) return;
    this.#state = state;
    this.#options.onState(state);
  }
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
