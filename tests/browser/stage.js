// Stands between the page and its servers, before any script of the page runs: what `staged` holds is what they answer, and a
// test tells the page of frames with `stage.tell`. The page itself is the one that is served.

window.stage = (() => {
  const staged = window.staged;
  const stage = { staged, seq: 100, calls: [], slow: {}, late: [], sockets: [], mute: false, refuse: false, told: [] };

  /** A frame. `sync_status` is also what the next request for the status is answered with. */
  stage.tell = (event, data, runId = staged.status.runId) => {
    const seq = ++stage.seq;
    if (event === "sync_status") staged.status = { ...staged.status, ...data, runId, seq };
    const frame = { event, runId, seq, data: event === "sync_status" ? staged.status : data };
    for (const socket of stage.sockets) socket.hear(frame);
  };

  const json = (status, body) => new Response(JSON.stringify(body), { status, headers: { "content-type": "application/json" } });
  const page = (list, name, after, limit) => {
    const from = after ? list.findIndex((item) => item.orderId === after) + 1 : 0;
    const items = list.slice(from, from + limit);
    return { [name]: items, next: from + limit < list.length ? items.at(-1).orderId : null };
  };

  const real = window.fetch;
  window.fetch = async (where, options = {}) => {
    const url = new URL(where, document.baseURI);
    if (url.pathname.endsWith("/assets/config.json")) {
      return json(200, { ...(await (await real(where, options)).json()), ...staged.config });
    }
    const path = url.pathname.split("/api/")[1];
    if (path === undefined) return real(where, options);
    const call = `${options.method ?? "GET"} ${path}`;
    stage.calls.push({ call, body: options.body ? JSON.parse(options.body) : null });
    const [after, limit] = [url.searchParams.get("after"), Number(url.searchParams.get("limit") ?? 100)];
    const only = url.searchParams.get("only");
    if (stage.refuse) throw new TypeError("away");
    if (stage.slow[call]) {
      await stage.slow[call];
      setTimeout(() => stage.late.push(call));
    }
    const answer = staged.answers?.[call];
    if (answer) return json(...answer);
    if (call === "POST qrapp/ws-ticket") return json(200, { ticket: "a-ticket", expiresAt: null });
    if (call === "GET qrapp/sync-status") return json(200, { ...staged.status, seq: staged.status.seq ?? stage.seq });
    if (call === "GET qrapp/runs") return json(200, { runs: staged.runs ?? [], next: null });
    if (call === "GET qrapp/failures") return json(200, page(staged.outside ?? [], "failures", after, limit));
    if (call.startsWith("GET qrapp/runs/")) {
      const empty = { failures: [], skips: [], issues: [], drift: { orders: 0, added: 0, reinstated: 0, cancelled: 0, list: [] } };
      return json(200, { ...empty, ...page(staged[only] ?? [], only, after, limit) });
    }
    if (call.startsWith("POST ghl/orders/sync")) return json(202, { message: "started", runId: "started" });
    return json(404, { error: "Not staged", code: "no_route", requestId: "request-1" });
  };

  window.WebSocket = class {
    static OPEN = 1;
    readyState = 0;

    constructor() {
      stage.sockets = [this];
      setTimeout(() => {
        if (stage.refuse) return this.onclose?.({});
        this.readyState = 1;
        this.onopen?.({});
      });
    }

    send(text) {
      const { action } = JSON.parse(text);
      stage.told.push(action);
      if (stage.mute) return;
      const seq = staged.status.seq ?? stage.seq;
      const snapshot = { event: "sync_status", runId: staged.status.runId, seq, data: { ...staged.status, seq } };
      setTimeout(() => this.hear(action === "ping" ? { event: "pong" } : snapshot));
    }

    hear(frame) {
      if (this.readyState === 1) this.onmessage?.({ data: JSON.stringify(frame) });
    }

    close() {
      this.readyState = 3;
    }
  };

  /** As if somebody came back to the tab. */
  stage.lookUp = () => document.dispatchEvent(new Event("visibilitychange"));
  return stage;
})();
