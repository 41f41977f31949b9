/**
 * What a client throws, rejects with, or tells its `onError`.
 *
 * All are `RealtimeError`s, so `error.code` says what went wrong whoever noticed it.
 */

/** @typedef {{ code?: unknown, message?: unknown, details?: unknown }} ErrorPayload */

/** The server refused a request; the classes below are for what the client finds out itself. */
export class RealtimeError extends Error {
  /**
   * @param {string} code What kind of error, such as `"not_found"`.
   * @param {string} [message] A sentence for the reader.
   * @param {any} [details] What else there is to tell.
   */
  constructor(code, message = code, details = {}) {
    super(message);
    this.name = "RealtimeError";
    this.code = code;
    this.details = details;
  }
}

/** There was no connection to get an answer on; its code is `connection_lost`. */
export class ConnectionLost extends RealtimeError {
  /** @param {boolean} maybeProcessed Whether the server may have done what it was asked. */
  constructor(maybeProcessed) {
    const lost = "the connection was lost: it may have been processed";
    super("connection_lost", maybeProcessed ? lost : "not connected: nothing was sent");
    this.name = "ConnectionLost";
    this.maybeProcessed = maybeProcessed;
  }
}

/** No answer came in time; if the request was sent, it may have been processed. */
export class RequestTimedOut extends RealtimeError {
  /**
   * @param {string} what What was asked.
   * @param {number} milliseconds How long the answer had.
   */
  constructor(what, milliseconds) {
    super("timeout", `${what}: no answer within ${milliseconds / 1000} s`);
    this.name = "RequestTimedOut";
  }
}

/** Too many requests wait for a connection already; its code is `queue_full`. */
export class QueueFull extends RealtimeError {
  /**
   * @param {number} messages How many wait.
   * @param {number} size How many characters they have together.
   */
  constructor(messages, size) {
    super("queue_full", `${messages} requests of ${size} characters wait already`);
    this.name = "QueueFull";
  }
}

/** The connection ended, or couldn't be had, and the client doesn't come back by itself. */
export class ConnectionClosed extends RealtimeError {
  /**
   * @param {number} closeCode The close code.
   * @param {string} [reason] What the server said of it.
   * @param {string} [code]
   */
  constructor(closeCode, reason = "", code = "closed") {
    super(code, reason || `closed with ${closeCode}`);
    this.name = "ConnectionClosed";
    this.closeCode = closeCode;
    this.reason = reason;
  }
}

/** No token that the server takes can be had. Throw it from `getToken` where only a login helps. */
export class UnauthorizedError extends ConnectionClosed {
  /**
   * @param {string} [reason] A sentence for the reader.
   * @param {number} [closeCode] The close code.
   */
  constructor(reason = "", closeCode = 4500) {
    super(closeCode, reason, "unauthorized");
    this.name = "UnauthorizedError";
  }
}

/**
 * The exception that an `error` frame's payload stands for, however odd it is.
 *
 * @param {ErrorPayload | null | undefined} payload
 */
export function toError(payload) {
  const { code, message, details } = payload ?? {};
  const known = typeof code === "string" ? code : "internal_error";
  return new RealtimeError(known, typeof message === "string" ? message : known, details ?? {});
}

/**
 * Whether there is no hope; told by name, as the app may have the class from another copy.
 *
 * @param {any} error
 * @returns {error is UnauthorizedError}
 */
export function isFinal(error) {
  return error?.name === "UnauthorizedError";
}

/**
 * What the app is told of `error`, which may be anything that its own function has thrown.
 *
 * @param {unknown} error
 */
export function asError(error) {
  if (error instanceof RealtimeError) return error;
  const told = new RealtimeError("failed", error instanceof Error ? error.message : String(error));
  return Object.assign(told, { cause: error });
}
