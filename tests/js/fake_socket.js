/** A WebSocket whose server is the test, a client of it, and a clock that stands until it is told. */

import { mock } from "node:test";

import { createWebSocketClient } from "../../quart_realtime/static/index.js";

export class FakeSocket {
  /** All that were made, the newest last. */
  static made = [];
  /** What a browser would write to its console. */
  static complaints = [];

  static get last() {
    return FakeSocket.made.at(-1);
  }

  readyState = 0;
  protocol = "";
  sent = [];
  closedWith = null;
  onopen = null;
  onmessage = null;
  onclose = null;
  onerror = null;

  constructor(url, protocols) {
    this.url = url;
    this.protocols = protocols;
    FakeSocket.made.push(this);
  }

  get token() {
    return this.protocols[1]?.slice("bearer.".length);
  }

  send(text) {
    if (this.readyState === 0) throw new Error("not open yet");
    this.sent.push(JSON.parse(text));
  }

  close(code) {
    if (this.readyState === 0) FakeSocket.complaints.push("closed before it has opened");
    this.readyState = 2;
    this.closedWith ??= code;
  }

  // What the server does

  open(protocol = "realtime.v1") {
    this.readyState = 1;
    this.protocol = protocol;
    this.onopen?.({});
  }

  say(frame) {
    this.onmessage?.({ data: typeof frame === "string" ? frame : JSON.stringify(frame) });
  }

  greet(payload = {}) {
    this.open();
    const greeting = { connection_id: "k1", user_id: "ana", ping_interval: 25, expires_at: null };
    this.say({ type: "connected", payload: { ...greeting, rooms: [], ...payload } });
    return this;
  }

  end(code = 1006, reason = "") {
    this.readyState = 3;
    this.onclose?.({ code, reason });
  }

  closing(code, { reconnect = true, retry_after_ms = null, label = "restart" } = {}) {
    this.say({ type: "closing", payload: { code: label, reconnect, retry_after_ms } });
    this.end(code);
  }

  /** The last frame sent of a type. */
  asked(type) {
    return this.sent.findLast((frame) => frame.type === type);
  }

  answer(payload, frame = this.sent.at(-1)) {
    this.say({ type: "response", id: frame.id, payload });
  }

  refuse(code, frame = this.sent.at(-1)) {
    this.say({ type: "error", id: frame.id, payload: { code, message: `${code}!`, details: {} } });
  }

  event(type, data, more = {}) {
    this.say({ type: "event", id: "evt-1", payload: { type, data }, ...more });
  }
}

/** Let promises that are settled be noticed. */
export const settled = () => new Promise((resolve) => setImmediate(resolve));

/** A client that is about to connect, and what it tells: pairs of hook and value. */
export function makeClient(token = "good", options = {}) {
  const client = createWebSocketClient(token, {
    url: "ws://server/ws",
    WebSocket: FakeSocket,
    backoff: { random: () => 0.5 },
    ...options,
  });
  const told = [];
  for (const hook of ["connect", "disconnect", "error", "recovered", "state"]) {
    client.listen(hook, (value) => told.push([hook, value]));
  }
  return { client, told, of: (hook) => told.filter(([name]) => name === hook).map(([, value]) => value) };
}

/** A client that is connected, its socket, and what it tells. */
export async function connected(token = "good", greeting = {}, options = {}) {
  const made = makeClient(token, options);
  made.client.connect();
  await settled();
  return { ...made, socket: FakeSocket.last.greet(greeting) };
}

/** Have no sockets, and a clock that the test moves. */
export function beginAnew() {
  mock.timers.reset();
  mock.timers.enable({ apis: ["setTimeout", "setInterval", "Date"], now: 1_800_000_000_000 });
  FakeSocket.made = [];
  FakeSocket.complaints = [];
}

/** Let time pass, in steps of a second, so that what is due in between comes in its turn. */
export async function pass(milliseconds) {
  for (let left = milliseconds; left > 0; left -= 1_000) {
    mock.timers.tick(Math.min(1_000, left));
    await settled();
  }
}

/** Let time pass on a connection that the server pings. */
export async function passWith(socket, milliseconds) {
  for (let left = milliseconds; left > 0; left -= 25_000) {
    socket.say({ type: "ping" });
    await pass(Math.min(25_000, left));
  }
}

export const codes = (errors) => errors.map((error) => error.code);
