/** The shapes that a client takes and tells; there is nothing to run. */

/**
 * Where a client stands; `"waiting"`: the connection was lost, or couldn't be had, and it comes
 * back by itself.
 *
 * @typedef {"disconnected" | "connecting" | "connected" | "waiting"} ConnectionState
 */

/**
 * A connection ended; `reconnecting` tells whether the client comes back by itself.
 *
 * @typedef {{ code: number, reason: string, reconnecting: boolean }} Disconnect
 */

/**
 * What a server offers: `requests[resource][action]` with payload and response, and `events`.
 *
 * @typedef {{ requests: Record<string, Record<string, { payload: any, response: any }>>,
 *   events: Record<string, any> }} Api
 */

/**
 * @typedef {object} RequestOptions
 * @property {number} [timeout] How long the answer may take, time offline included, in milliseconds.
 * @property {boolean} [retry] Ask again when the connection was lost before the answer came; the
 *   server does it once all the same.
 */

/**
 * @typedef {object} ClientOptions
 * @property {string} [url] Where the websocket is; where these files came from, or `/ws`, if left out.
 * @property {number} [requestTimeout] How long an answer may take, time offline included: 10 000 ms.
 * @property {number} [connectTimeout] How long one attempt may take until the greeting: 10 000 ms.
 * @property {number} [queueMessages] How many requests may wait while offline: 100.
 * @property {number} [queueSize] How many characters they may have together: 256 Ki.
 * @property {ConstructorParameters<typeof import("./backoff.js").Backoff>[0]} [backoff] How long to wait before coming back.
 * @property {number | false} [fallback] How often to try a websocket while a stream over HTTP stands in
 *   for it, where websockets don't get through: every 300 000 ms; false: never use a stream.
 * @property {typeof globalThis.WebSocket} [WebSocket] Another implementation, for an old Node.js.
 */

/**
 * @typedef {{ connect: import("./protocol.js").Greeting, disconnect: Disconnect, error: Error, recovered: import("./following.js").Recovery,
 *   state: ConnectionState }} Hooks
 */

export {};
