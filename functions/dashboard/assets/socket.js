// The live connection: opened with a fresh ticket each time, watched, and opened again when it drops.

const PING_EVERY_MS = 5 * 60_000; // API Gateway closes after 10 idle minutes.
const ANSWER_WITHIN_MS = 10_000;
const STEADY_AFTER_MS = 10_000;
const BACK_OFF = { first: 500, most: 30_000 };

export class LiveUpdates {
  #options;
  #socket = null;
  #state = "stopped";
  #attempt = 0;
  #timers = {};
  #generation = 0;

  /**
   * `url`: where to connect. `ticket()`: resolves to a fresh ticket. `onFrame(frame)`: something was received.
   * `onState(state)`: `connecting`, `live`, `waiting` (to reconnect) or `stopped`.
   */
  constructor(options) {
    this.#options = options;
    addEventListener("online", () => this.#wake());
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && this.#wake());
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
    if (this.#state === "waiting") this.#connect();
    if (this.#state === "live") this.#ask("ping");
  }

  async #connect() {
    this.#drop();
    const generation = this.#generation;
    this.#enter("connecting");
    let ticket;
    try {
      ({ ticket } = await this.#options.ticket());
    } catch (error) {
      if (generation === this.#generation) this.#retry(error.retryAfter);
      return;
    }
    if (generation !== this.#generation) return;

    const url = new URL(this.#options.url);
    url.searchParams.set("ticket", ticket);
    const socket = (this.#socket = new WebSocket(url));
    this.#after("answer", ANSWER_WITHIN_MS, () => this.#retry());
    socket.onopen = () => {
      this.#enter("live");
      this.#ask("status");
      this.#after("steady", STEADY_AFTER_MS, () => (this.#attempt = 0));
      this.#timers.ping = setInterval(() => this.#ask("ping"), PING_EVERY_MS);
    };
    socket.onmessage = ({ data }) => {
      clearTimeout(this.#timers.answer);
      const frame = parse(data);
      if (frame?.event && frame.event !== "pong") this.#options.onFrame(frame);
    };
    socket.onclose = () => this.#retry();
  }

  #ask(action) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return;
    this.#socket.send(JSON.stringify({ action }));
    this.#after("answer", ANSWER_WITHIN_MS, () => this.#retry());
  }

  #retry(afterSeconds) {
    this.#drop();
    const ceiling = Math.min(BACK_OFF.most, BACK_OFF.first * 2 ** this.#attempt++);
    // Jitter, so that all dashboards don't come back at the same moment.
    const delay = Math.max(ceiling * (0.5 + Math.random() / 2), (afterSeconds ?? 0) * 1000);
    this.#after("retry", delay, () => this.#connect());
    this.#enter("waiting");
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
