/** One socket, with what was asked on it and isn't answered yet. All times in milliseconds. */

import { ConnectionLost, toError } from "./errors.js";
import { CloseCode, PING, PONG, PROTOCOL_VERSION, SUBPROTOCOL, decode, mayReconnect } from "./protocol.js";

/**
 * @typedef {import("./protocol.js").ServerFrame} ServerFrame
 * @typedef {(payload: any, error: import("./errors.js").RealtimeError | null) => void} Answered
 * @typedef {{ code: number, reason: string, mayReturn: boolean, retryAfter: number | null }} End
 */

/** How long past its ping's turn the server may be silent. */
const GRACE = 10_000;
const PROBE_TIMEOUT = 3_000;
const LOOKS_PER_INTERVAL = 5;
/** How long the watch over a socket naps: short enough that a waking laptop notices soon. */
const LONGEST_NAP = 1_000;
const SHORTEST_NAP = 10;
/** By how much a nap may be late before the machine or the page must have slept. */
const GAP = 5_000;

const CONNECTING = 0;

/**
 * Sockets of all clients that are to close as soon as they have opened. A browser opens one socket
 * to a server at a time, so one that hangs would have the next wait for it.
 *
 * @type {Set<WebSocket>}
 */
const leaving = new Set();

export class Link {
  /** When `connected` came, null before. @type {number | null} */
  connectedAt = null;
  /** @type {Map<string, Answered>} */
  #questions = new Map();
  /** @type {import("./protocol.js").Closing} */
  #closing = {};
  #heardAt = Date.now();
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #watch;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #probing;
  #socket;
  #onFrame;
  #onEnd;

  /**
   * @param {WebSocket} socket
   * @param {string | null} token The token that the server knows us by.
   * @param {(link: Link, frame: ServerFrame) => void} onFrame Called with what is for the client.
   * @param {(link: Link, end: End) => void} onEnd Called once, unless `close` came first.
   */
  constructor(socket, token, onFrame, onEnd) {
    this.token = token;
    this.#socket = socket;
    // At the price of the browser's complaint.
    for (const hanging of leaving) hanging.close();
    leaving.clear();
    this.#onFrame = onFrame;
    this.#onEnd = onEnd;
    socket.onmessage = ({ data }) => this.#receive(data);
    socket.onclose = ({ code, reason }) => this.#ended(code, reason);
    socket.onerror = () => {}; // It closes too. Node's `ws` would throw what nobody listens for.
  }

  /** @param {unknown} data */
  #receive(data) {
    this.#heardAt = Date.now();
    const frame = decode(data);
    switch (frame?.type) {
      case "ping":
        this.#socket.send(PONG);
        break;
      case "closing":
        this.#closing = frame.payload;
        break;
      case "response":
        this.#answered(frame.id, frame.payload, null);
        break;
      case "error":
        if (typeof frame.id === "string") this.#answered(frame.id, null, toError(frame.payload));
        else this.#onFrame(this, frame);
        break;
      case "connected":
        // Browsers see to the subprotocol themselves. Trying again would be of no use.
        if ((frame.payload.protocol ?? PROTOCOL_VERSION) !== PROTOCOL_VERSION) {
          return this.#ended(CloseCode.protocol_error, `the server doesn't speak ${SUBPROTOCOL}`);
        }
      // falls through
      case "event":
        this.#onFrame(this, frame);
    }
  }

  /**
   * @param {string} id
   * @param {any} payload
   * @param {import("./errors.js").RealtimeError | null} error
   */
  #answered(id, payload, error) {
    // An answer that nobody waits for any longer, or never did, is none.
    const answered = this.#questions.get(id);
    this.#questions.delete(id);
    answered?.(payload, error);
  }

  /**
   * Send the frame `text`; `answered` is called with its answer, before the frame that follows is
   * looked at, or with a ConnectionLost.
   *
   * @param {string} id The id in `text`, one that isn't in use on this socket.
   * @param {string} text
   * @param {Answered} answered
   */
  ask(id, text, answered) {
    this.#questions.set(id, answered);
    this.#socket.send(text);
  }

  /**
   * Care no longer for the answer to `id`.
   *
   * @param {string} id
   */
  forget(id) {
    this.#questions.delete(id);
  }

  /**
   * Find out when the server is gone; it is when nothing came for too long.
   *
   * @param {number | null | undefined} pingInterval How often it pings, in seconds; none: not at all.
   * @param {() => void} look Called at each look at the clock.
   */
  watch(pingInterval, look) {
    const pings = typeof pingInterval === "number" && pingInterval > 0 ? pingInterval * 1000 : Infinity;
    const nap = Math.max(SHORTEST_NAP, Math.min(LONGEST_NAP, pings / LOOKS_PER_INTERVAL));
    let lookedAt = Date.now();
    this.#watch = setInterval(() => {
      const now = Date.now();
      // Or the clock was set, which says nothing of the server either.
      const slept = now - lookedAt > nap + GAP || now < lookedAt;
      lookedAt = now;
      look();
      // Who has slept may not have looked yet at what came: then the server is asked first.
      if (slept) this.probe();
      else if (now - this.#heardAt > pings + GRACE && this.#probing === undefined) this.abort();
    }, nap);
  }

  /** Ask the server whether it is there, and give the socket up if it doesn't say so soon. */
  probe() {
    if (this.connectedAt === null || this.#probing !== undefined) return;
    this.#heardAt = Math.min(this.#heardAt, Date.now() - 1);
    const before = this.#heardAt;
    this.#socket.send(PING);
    this.#probing = setTimeout(() => {
      this.#probing = undefined;
      if (this.#heardAt === before) this.abort();
    }, PROBE_TIMEOUT);
  }

  /** Give up on a socket that is silent, without waiting for its goodbye. */
  abort() {
    this.#ended(CloseCode.abnormal, "");
  }

  /**
   * @param {number} code
   * @param {string} reason
   */
  #ended(code, reason) {
    const told = this.#closing;
    if (code === CloseCode.abnormal && Object.hasOwn(CloseCode, told.code ?? "")) {
      code = /** @type {Record<string, number>} */ (CloseCode)[told.code ?? ""];
    }
    const mayReturn = typeof told.reconnect === "boolean" ? told.reconnect : mayReconnect(code);
    const retryAfter = typeof told.retry_after_ms === "number" ? told.retry_after_ms : null;
    this.close();
    this.#onEnd(this, { code, reason, mayReturn, retryAfter });
  }

  /** Close the socket, in whatever state it is, and tell all who wait for an answer. */
  close() {
    clearInterval(this.#watch);
    clearTimeout(this.#probing);
    const socket = this.#socket;
    socket.onmessage = socket.onclose = null;
    // Browsers complain about a socket that is closed before it has opened.
    if (socket.readyState === CONNECTING) {
      leaving.add(socket);
      socket.onopen = () => {
        leaving.delete(socket);
        socket.close(CloseCode.normal);
      };
    } else socket.close(CloseCode.normal);
    const questions = [...this.#questions.values()];
    this.#questions.clear();
    for (const answered of questions) answered(null, new ConnectionLost(true));
  }
}
