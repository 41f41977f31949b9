/**
 * Where websockets don't get through: a socket made of a stream of events and of messages posted
 * one by one. Loaded only where it is needed. All times in milliseconds.
 */

import { BEARER_PREFIX, CloseCode, SUBPROTOCOL, decode } from "./protocol.js";

/**
 * @typedef {{ times: number }} Blocked How many handshakes in a row got no answer.
 */

/** So many handshakes in a row are to fail before a stream is tried; it must be an odd number. */
const PATIENCE = 3;

const CLOSED = 3;

/**
 * What to open the next connection with: after so many failures every other is a stream, so that
 * neither is given up.
 *
 * @param {Blocked} blocked
 * @param {number | false} retry How long after a stream has opened, and again and again, a websocket is
 *   tried; false: there is to be no stream.
 * @param {typeof globalThis.WebSocket} WebSocket
 * @returns {any} That, or something that is used like it.
 */
export function choose(blocked, retry, WebSocket) {
  if (retry === false || globalThis.navigator?.onLine === false) return WebSocket;
  if (blocked.times < PATIENCE || blocked.times % 2 === 0) return WebSocket;
  return function (/** @type {string} */ url, /** @type {string[]} */ protocols) {
    return new StreamSocket(url, protocols, { blocked, WebSocket, retry });
  };
}

/** As much of a WebSocket as a link needs, over fetch. */
export class StreamSocket {
  /** Never "connecting": a request can be given up at any time. */
  readyState = 1;
  /** @type {((event: { data: string }) => void) | null} */
  onmessage = null;
  /** @type {((event: { code: number, reason: string }) => void) | null} */
  onclose = null;
  onopen = null;
  onerror = null;
  #ending = new AbortController();
  #connectionId = "";
  /** What is posted about the stream itself, in its order. @type {Promise<void>} */
  #posting = Promise.resolve();
  #inFlight = 0;
  #isLeaving = false;
  /** Whether there is a stream, and websockets aren't known to get through. */
  #isAnswered = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  /** A websocket that is tried. @type {WebSocket | null} */
  #trial = null;
  #url;
  #token;
  #options;

  /**
   * @param {string} url The websocket's.
   * @param {string[]} protocols The token is among them.
   * @param {{ blocked: Blocked, WebSocket: typeof globalThis.WebSocket, retry: number }} options
   */
  constructor(url, protocols, options) {
    this.#url = url;
    this.#token = protocols.find((name) => name.startsWith(BEARER_PREFIX))?.slice(BEARER_PREFIX.length);
    this.#options = options;
    // Whoever has made this sets its callbacks first.
    Promise.resolve().then(() => this.#read());
  }

  /**
   * Send a message; about the stream itself one after the other, requests as they come.
   *
   * @param {string} text
   */
  send(text) {
    const { type } = JSON.parse(text);
    if (type === "auth") this.#leave(); // A stream keeps its token: the next one has the new.
    else if (type === "request") this.#post(text);
    else if (type !== "pong") this.#posting = this.#posting.then(() => this.#post(text));
  }

  /** End it, and leave nothing behind. */
  close() {
    this.readyState = CLOSED;
    clearTimeout(this.#timer);
    this.#endTrial();
    this.#ending.abort();
  }

  /**
   * @param {string} name
   * @param {RequestInit} [options]
   */
  #fetch(name, options = {}) {
    const url = new URL(this.#url);
    url.protocol = url.protocol.replace("ws", "http");
    url.pathname += name;
    const headers = new Headers(options.headers);
    if (this.#token !== undefined) headers.set("Authorization", `Bearer ${this.#token}`);
    return fetch(url, {
      ...options,
      headers,
      credentials: "include",
      cache: "no-store",
      signal: this.#ending.signal,
    });
  }

  async #read() {
    try {
      const response = await this.#fetch("/events");
      const { body } = response;
      const isStream = response.headers.get("Content-Type")?.startsWith("text/event-stream");
      if (body === null || !isStream) throw new Error(`no stream: ${response.status}`);
      this.#isAnswered = true;
      const reader = body.getReader();
      const decoder = new TextDecoder();
      let rest = "";
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        const events = (rest + decoder.decode(value, { stream: true })).split("\n\n");
        rest = /** @type {string} */ (events.pop());
        for (const event of events) this.#receive(event);
      }
    } catch {
      // However it failed, it has ended.
    }
    this.#end(CloseCode.abnormal);
  }

  /** @param {string} event The lines of one, of which only the data counts: rooms know their own places. */
  #receive(event) {
    for (const line of event.split("\n")) {
      if (line.startsWith("data: ")) this.#hand(line.slice("data: ".length));
    }
  }

  /** @param {string} text */
  #hand(text) {
    if (this.readyState === CLOSED) return;
    if (this.#connectionId === "") {
      const frame = decode(text);
      if (frame?.type === "connected") this.#opened(frame.payload.connection_id ?? "");
    }
    this.onmessage?.({ data: text });
  }

  /** @param {string} connectionId */
  #opened(connectionId) {
    this.#connectionId = connectionId;
    this.#tryLater();
  }

  /** @param {string} text */
  async #post(text) {
    this.#inFlight += 1;
    try {
      const response = await this.#fetch("/requests", {
        method: "POST",
        headers: { "Content-Type": "application/json", "X-Realtime-Connection": this.#connectionId },
        body: text,
      });
      // An answer that is no frame is none of the server's: something stands between.
      const answer = response.status === 202 ? null : await response.text();
      if (answer !== null && decode(answer) === null) throw new Error(`no answer: ${response.status}`);
      this.#inFlight -= 1;
      if (answer !== null) this.#hand(answer);
      this.#leaveIfIdle();
    } catch {
      // As over a socket that breaks: what was asked may have been done.
      this.#end(CloseCode.abnormal);
    }
  }

  // Leaving for another connection

  /** End, for another connection at once, as soon as all that was asked is answered. */
  #leave() {
    this.#isLeaving = true;
    this.#leaveIfIdle();
  }

  #leaveIfIdle() {
    if (!this.#isLeaving || this.#inFlight > 0 || this.readyState === CLOSED) return;
    const payload = { code: "going_away", reconnect: true, retry_after_ms: 0 };
    this.onmessage?.({ data: JSON.stringify({ type: "closing", payload }) });
    this.#end(CloseCode.going_away);
  }

  /** @param {number} code */
  #end(code) {
    if (this.readyState === CLOSED) return;
    const { onclose } = this;
    this.close();
    onclose?.({ code, reason: "" });
    // Where a stream was answered it is what the next connection tries first.
    if (this.#isAnswered) this.#options.blocked.times = PATIENCE;
  }

  // Whether websockets get through again

  #tryLater() {
    this.#timer = setTimeout(() => this.#try(), this.#options.retry);
  }

  /** Open a websocket, without a token: that it opens is all there is to know. */
  #try() {
    const trial = new this.#options.WebSocket(this.#url, [SUBPROTOCOL]);
    this.#trial = trial;
    trial.onopen = () => {
      this.#endTrial();
      this.#isAnswered = false;
      this.#leave();
    };
    trial.onclose = () => {
      this.#endTrial();
      this.#tryLater();
    };
    trial.onerror = () => {};
  }

  #endTrial() {
    const trial = this.#trial;
    this.#trial = null;
    if (trial === null) return;
    trial.onopen = trial.onclose = null;
    // Whoever closes one that is connecting is complained about; it closes as soon as it opens.
    if (trial.readyState === 0) trial.onopen = () => trial.close(CloseCode.normal);
    else trial.close(CloseCode.normal);
  }
}
