/** Where a client's tokens come from, and what became of them. */

import { UnauthorizedError } from "./errors.js";
import { CloseCode } from "./protocol.js";

/**
 * @typedef {"connect" | "expired" | "refresh"} Reason
 * @typedef {(reason: Reason) => string | Promise<string>} TokenFunction
 */

/** After how many fresh tokens refused in a row no more are asked for. */
const MAX_REFUSALS = 3;
/** How many refused tokens are remembered, so that none of them is sent again. */
const REMEMBERED = 16;
/** A token is refreshed 10 s before it expires, or 20 % of its remaining life if that is more. */
const EARLY = 10_000;
const EARLY_PART = 0.2;
const RETRY_BETWEEN = /** @type {[number, number]} */ ([5_000, 10_000]);

/** The characters of an HTTP token (RFC 9110, section 5.6.2), as it travels as a subprotocol. */
const SENDABLE = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;

/** The current token, and the way to a fresh one. */
export class Tokens {
  /** @type {TokenFunction | null} */
  #ask = null;
  /** @type {string | null} */
  #current = null;
  /** @type {Reason} */
  #reason = "connect";
  /** @type {Promise<string> | null} */
  #call = null;
  /** Counts logins: a token that was asked for in an earlier one isn't this one's. */
  #login = 0;
  /** @type {string[]} */
  #refused = [];
  #refusals = 0;
  /** @type {string | null} */
  #accepted = null;
  #expiresAt = Infinity;
  #refreshAt = Infinity;
  #backoff;

  /**
   * @param {string | TokenFunction | null | undefined} source None where a cookie carries it.
   * @param {import("./backoff.js").Backoff} backoff
   */
  constructor(source, backoff) {
    this.#backoff = backoff;
    if (typeof source === "function") this.#ask = source;
    else if (source !== null && source !== undefined) this.#current = sendable(source);
  }

  /**
   * The token to connect with, a fresh one where there is none that may be good.
   *
   * Rejects with an UnauthorizedError where there is none to be had, finally; whatever else the
   * function throws is for now.
   */
  async forHandshake() {
    if (this.#ask === null && this.#current !== null && this.#refused.includes(this.#current)) {
      throw new UnauthorizedError("this token was refused before");
    }
    if (this.#ask !== null && (this.#current === null || Date.now() >= this.#expiresAt)) {
      return this.renew(this.#current === null ? this.#reason : "expired");
    }
    return this.#current;
  }

  /**
   * Ask for a fresh token; all who wait for one share the call.
   *
   * @param {Reason} reason
   */
  renew(reason) {
    if (this.#call === null) {
      const call = this.#fetch(reason).finally(() => {
        if (this.#call === call) this.#call = null;
      });
      this.#call = call;
    }
    return this.#call;
  }

  /** @param {Reason} reason */
  async #fetch(reason) {
    if (this.#ask === null) throw new UnauthorizedError("there is no other token");
    const login = this.#login;
    const token = sendable(await this.#ask(reason));
    if (login !== this.#login) throw new Error("disconnected meanwhile");
    if (this.#refused.includes(token)) {
      const again = "getToken gave a refused token";
      this.#countRefusal(again, CloseCode.unauthorized);
      throw new Error(again);
    }
    [this.#current, this.#expiresAt, this.#refreshAt] = [token, Infinity, Infinity];
    return token;
  }

  /**
   * Note that the server took `token`.
   *
   * @param {string | null} token
   * @param {number | null | undefined} expiresAt In seconds since the epoch; none: never.
   */
  accepted(token, expiresAt) {
    this.#accepted = token;
    this.#refusals = 0;
    if (token === null || token !== this.#current) return;
    const expiry = typeof expiresAt === "number" ? expiresAt * 1000 : Infinity;
    const life = expiry - Date.now();
    // Taken though expired: the clock here is wrong, and can't tell when to refresh.
    this.#expiresAt = life > 0 ? expiry : Infinity;
    this.#refreshAt = Infinity;
    if (this.#ask !== null && life > 0 && life < Infinity) {
      this.#refreshAt = expiry - Math.max(EARLY, EARLY_PART * life);
    }
  }

  /**
   * Note that the server didn't take `token`, or no longer does.
   *
   * Throws an UnauthorizedError where no other is to be had, or three fresh ones in a row were
   * refused.
   *
   * @param {string | null} token
   * @param {string} reason
   * @param {number} [closeCode]
   */
  refused(token, reason, closeCode = CloseCode.unauthorized) {
    if (token === null) throw new UnauthorizedError(reason, closeCode);
    const isKnown = this.#refused.includes(token);
    if (!isKnown) this.#refused = [...this.#refused, token].slice(-REMEMBERED);
    if (this.#ask === null) throw new UnauthorizedError(reason, closeCode);
    if (isKnown) return;
    if (token === this.#current) [this.#current, this.#reason] = [null, "expired"];
    if (token !== this.#accepted) this.#countRefusal(reason, closeCode);
  }

  /**
   * @param {string} reason
   * @param {number} closeCode
   */
  #countRefusal(reason, closeCode) {
    this.#refusals += 1;
    if (this.#refusals >= MAX_REFUSALS) throw new UnauthorizedError(reason, closeCode);
  }

  /** The token to show now. */
  get current() {
    return this.#current;
  }

  /** Ask for a token anew at the next login, which may be another user's. */
  forget() {
    this.#login += 1;
    this.#call = null;
    if (this.#ask !== null) this.#current = null;
    this.#accepted = null;
    this.#reason = "connect";
    this.#refusals = 0;
    [this.#expiresAt, this.#refreshAt] = [Infinity, Infinity];
  }

  /** Whether a refresh is due; it is told once. */
  takeRefresh() {
    if (Date.now() < this.#refreshAt) return false;
    this.#refreshAt = Infinity;
    return true;
  }

  /** Note that a refresh failed: another is due in a while. */
  postponeRefresh() {
    this.#refreshAt = Date.now() + this.#backoff.between(...RETRY_BETWEEN);
  }
}

/**
 * @param {unknown} token
 * @returns {string}
 */
function sendable(token) {
  if (typeof token === "string" && SENDABLE.test(token)) return token;
  throw new UnauthorizedError("a token is a string without spaces or separators");
}
