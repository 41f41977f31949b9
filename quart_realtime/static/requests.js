/** Requests: which connection they go out on, and what waits for one. */

import { ConnectionLost, QueueFull, RealtimeError, RequestTimedOut } from "./errors.js";
import { requestFrame } from "./protocol.js";
import { after } from "./timing.js";

/**
 * @typedef {{ id: string, text: string, retry: boolean, sentAt: number | null,
 *   settle: (payload: any, error: Error | null) => void }} Pending
 */

/** For how long the server surely remembers a key, in milliseconds; it says two minutes. */
const REMEMBERED = 110_000;
/** How many of those that waited go out at once, and how long the next wait: servers count messages. */
const BATCH = 8;
const PAUSE = 100;

export class Requests {
  /** How many bytes the server takes in one message. */
  mostBytes = Infinity;
  /** Those without an answer, in the order they were made. @type {Map<string, Pending>} */
  #pending = new Map();
  /** @type {import("./link.js").Link | null} */
  #link = null;
  /** Which of them still wait for their turn. @type {Set<Pending>} */
  #waiting = new Set();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #pause;
  #hopeless = true;
  #mostMessages;
  #mostSize;

  /**
   * @param {number} mostMessages How many may wait for a connection.
   * @param {number} mostSize How many characters they may have together.
   */
  constructor(mostMessages, mostSize) {
    this.#mostMessages = mostMessages;
    this.#mostSize = mostSize;
  }

  /** Hope for a connection. */
  begin() {
    this.#hopeless = false;
  }

  /**
   * Send what waits, and all that follows, on `link`.
   *
   * @param {import("./link.js").Link} link
   */
  opened(link) {
    this.#link = link;
    this.#waiting = new Set(this.#pending.values());
    this.#sendBatch();
  }

  #sendBatch() {
    let room = BATCH;
    for (const pending of this.#waiting) {
      if (room-- === 0) {
        this.#pause = setTimeout(() => this.#sendBatch(), PAUSE);
        return;
      }
      this.#waiting.delete(pending);
      this.#send(pending);
    }
  }

  /** Let what follows wait for the next connection. */
  lost() {
    this.#link = null;
    clearTimeout(this.#pause);
  }

  /** Refuse what waits and all that follows. */
  end() {
    this.lost();
    this.#hopeless = true;
    this.refuse();
  }

  /** Refuse what waits. */
  refuse() {
    for (const { settle, sentAt } of [...this.#pending.values()]) {
      settle(null, new ConnectionLost(sentAt !== null));
    }
  }

  /**
   * Ask, now or on the next connection.
   *
   * @param {string} id
   * @param {string} resource
   * @param {string} action
   * @param {Record<string, any> | null} payload
   * @param {{ timeout: number, retry: boolean }} options The time in milliseconds.
   * @returns {Promise<any>}
   */
  ask(id, resource, action, payload, { timeout, retry }) {
    if (payload !== null && Object.hasOwn(payload, "action")) {
      throw new TypeError("the action is an argument, not in the payload");
    }
    const text = requestFrame(id, resource, action, payload, retry ? randomKey() : undefined);
    return new Promise((resolve, reject) => {
      if (this.#hopeless) throw new ConnectionLost(false);
      if (this.#link === null || this.#waiting.size > 0) this.#checkQueue(text.length);
      const timer = after(timeout, () => {
        this.#link?.forget(id);
        settle(null, new RequestTimedOut(`${resource}.${action}`, timeout));
      });
      /** @type {Pending["settle"]} */
      const settle = (payload, error) => {
        clearTimeout(timer);
        this.#pending.delete(id);
        this.#waiting.delete(pending);
        if (error === null) resolve(payload);
        else reject(error);
      };
      /** @type {Pending} */
      const pending = { id, text, retry, sentAt: null, settle };
      this.#pending.set(id, pending);
      if (this.#waiting.size > 0) this.#waiting.add(pending);
      else this.#send(pending);
    });
  }

  /** @param {number} size */
  #checkQueue(size) {
    // Once there is a connection, those that were sent on it don't count.
    const waiting = this.#link === null ? this.#pending.values() : this.#waiting;
    let [messages, total] = [0, 0];
    for (const { text } of waiting) [messages, total] = [messages + 1, total + text.length];
    if (messages >= this.#mostMessages || total + size > this.#mostSize) throw new QueueFull(messages, total);
  }

  /** @param {Pending} pending */
  #send(pending) {
    if (this.#link === null) return;
    const now = Date.now();
    if (pending.sentAt !== null && now - pending.sentAt > REMEMBERED) {
      // The server may have forgotten it by now, and do it twice.
      pending.settle(null, new ConnectionLost(true));
      return;
    }
    if (pending.text.length * 3 > this.mostBytes) {
      const { length } = new TextEncoder().encode(pending.text);
      if (length > this.mostBytes) {
        const much = `${length} bytes: the server takes ${this.mostBytes}`;
        pending.settle(null, new RealtimeError("payload_too_large", much));
        return;
      }
    }
    pending.sentAt ??= now;
    this.#link.ask(pending.id, pending.text, (payload, error) => {
      // It goes out again under the same key, and so happens once.
      if (error instanceof ConnectionLost && pending.retry && !this.#hopeless) return;
      pending.settle(payload, error);
    });
  }
}

/** A key that no other request has; `crypto.randomUUID` is missing where a page isn't secure. */
function randomKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
