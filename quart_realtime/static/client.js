/** The client: requests, events and rooms over one websocket that comes back by itself. */

import { Backoff } from "./backoff.js";
import { ConnectionClosed, ConnectionLost, RequestTimedOut, asError, isFinal, toError } from "./errors.js";
import { Following } from "./following.js";
import { Link } from "./link.js";
import { call, Listeners } from "./listeners.js";
import { followPage, isHidden } from "./page.js";
import { BEARER_PREFIX, CloseCode, SUBPROTOCOL, isPosition, isRoomName } from "./protocol.js";
import { Refreshing } from "./refreshing.js";
import { Requests } from "./requests.js";
import { after, deferred } from "./timing.js";
import { Tokens } from "./tokens.js";
import { websocketUrl } from "./url.js";

/**
 * @typedef {import("./errors.js").RealtimeError} RealtimeError
 * @typedef {import("./errors.js").UnauthorizedError} UnauthorizedError
 * @typedef {import("./following.js").Recovery} Recovery
 * @typedef {import("./link.js").End} End
 * @typedef {import("./listeners.js").Undo} Undo
 * @typedef {import("./protocol.js").Greeting} Greeting
 * @typedef {import("./protocol.js").ServerFrame} ServerFrame
 * @typedef {import("./rooms.js").RealtimeEvent} RealtimeEvent
 */

/**
 * @typedef {import("./types.js").ClientOptions} ClientOptions
 * @typedef {import("./types.js").ConnectionState} ConnectionState
 * @typedef {import("./types.js").Disconnect} Disconnect
 * @typedef {import("./types.js").Hooks} Hooks
 * @typedef {import("./types.js").RequestOptions} RequestOptions
 */

/** @typedef {import("./types.js").Api} Api */

/** How long a page that nobody sees waits before it comes back, at least. */
const HIDDEN_DELAY = 20_000;

/** @template {Api} [A=Api] */
export class Client {
  /** Called with the server's greeting at each connect. @type {((greeting: Greeting) => unknown) | null} */
  onConnect = null;
  /** Called at each end of a connection. @type {((disconnect: Disconnect) => unknown) | null} */
  onDisconnect = null;
  /**
   * Called with what no request is answered by: an attempt that failed, a token that couldn't be
   * had, a room that was refused.
   *
   * @type {((error: Error) => unknown) | null}
   */
  onError = null;
  /** Called for each room after each return. @type {((recovery: Recovery) => unknown) | null} */
  onRecovered = null;
  /** Called with each new state. @type {((state: ConnectionState) => unknown) | null} */
  onStateChange = null;

  /** Who is logged in, null before the first greeting and after `disconnect()`. @type {string | null} */
  userId = null;
  /** The server's name for the present or the last connection. @type {string | null} */
  connectionId = null;

  /** @type {ConnectionState} */
  #state = "disconnected";
  #events = new Listeners();
  #hooks = new Listeners();
  #lastId = 0;
  #failures = 0;
  /** Counts attempts: what belongs to an earlier one comes too late. */
  #attempt = 0;
  /** How many attempts on end got no answer, as where websockets are blocked. */
  #blocked = { times: 0 };
  /** @type {typeof import("./fallback.js") | null} */
  #fallback = null;
  #openedAt = 0;
  /** @type {Link | null} */
  #link = null;
  /** The end of an attempt, or of a wait. @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #unfollowPage = () => {};
  /** @type {{ promise: Promise<Greeting>, resolve: (greeting: Greeting) => void, reject: (error: Error) => void }} */
  #greeting = deferred();
  #url;
  #options;
  #backoff;
  #tokens;
  #refreshing;
  #requests;
  #following;

  /**
   * @param {string | import("./tokens.js").TokenFunction | null} [token] The JWT, or a function that
   *   returns one or a promise of one; it is told why: `"connect"`, `"expired"` (also: refused) or
   *   `"refresh"`. When it throws an UnauthorizedError the client gives up, after anything else it
   *   tries again. None where a cookie carries the token.
   * @param {ClientOptions} [options]
   */
  constructor(token, options = {}) {
    this.#url = websocketUrl(options.url);
    this.#options = { requestTimeout: 10_000, connectTimeout: 10_000, fallback: 300_000, ...options };
    this.#backoff = new Backoff(options.backoff);
    this.#tokens = new Tokens(token, this.#backoff);
    this.#refreshing = new Refreshing(this.#tokens, {
      nextId: () => this.#nextId(),
      live: () => this.#link,
      failed: (error) =>
        isFinal(error) ? this.#finish(error) : this.#tell("error", this.onError, asError(error)),
    });
    this.#requests = new Requests(options.queueMessages ?? 100, options.queueSize ?? 256 * 1024);
    this.#following = new Following({
      deliver: (event) => this.#events.tell(event.type, event.data, event),
      recovered: (recovery) => this.#tell("recovered", this.onRecovered, recovery),
      failed: (error) => this.#tell("error", this.onError, error),
      nextId: () => this.#nextId(),
      backoff: this.#backoff,
      timeout: this.#options.requestTimeout,
    });
  }

  /** Where the client stands. */
  get state() {
    return this.#state;
  }

  /** The rooms that the server put this client in. */
  get rooms() {
    return this.#following.joined;
  }

  // What the app may do

  /**
   * Connect, and stay connected.
   *
   * @returns {Promise<Greeting>} Resolves with the server's greeting, however many attempts that
   *   takes; rejects with a ConnectionClosed where there is no hope, `onDisconnect` being told too.
   */
  connect() {
    if (this.#state === "disconnected") {
      if (this.#url === null) {
        throw new TypeError('pass { url: "wss://…" }: there is no page');
      }
      if ((this.#options.WebSocket ?? globalThis.WebSocket) === undefined) {
        throw new TypeError("no WebSocket here: pass { WebSocket } of the package ws");
      }
      this.#failures = 0;
      this.#greeting = deferred();
      this.#requests.begin();
      this.#unfollowPage = followPage({
        wake: () => this.#wake(),
        doubt: () => this.#link?.probe(),
        suspend: () => this.#suspend(),
      });
      this.#open();
    }
    return this.#greeting.promise;
  }

  /** Close the connection, in whatever state it is, and leave nothing behind. */
  disconnect() {
    if (this.#state !== "disconnected") this.#finish(null);
  }

  /**
   * Ask `resource` to do `action`.
   *
   * @template {keyof A["requests"] & string} R
   * @template {keyof A["requests"][R] & string} C
   * @overload
   * @param {R} resource Such as `"messages"`.
   * @param {C} action Such as `"create"`.
   * @param {A["requests"][R][C]["payload"]} [payload] The arguments.
   * @param {RequestOptions} [options]
   * @returns {Promise<A["requests"][R][C]["response"]>} Rejects with a RealtimeError.
   */
  /**
   * @template {keyof A["requests"] & string} R
   * @template {keyof A["requests"][R] & string} C
   * @overload
   * @param {R} resource
   * @param {C} action
   * @param {A["requests"][R][C]["payload"]} payload
   * @param {(data: A["requests"][R][C]["response"], error: RealtimeError | null) => unknown} callback
   *   Called with the answer, or with null and the error.
   * @returns {Promise<A["requests"][R][C]["response"]>}
   */
  /**
   * @param {string} resource
   * @param {string} action
   * @param {any} [payload]
   * @param {any} [last] Options, or a callback.
   * @returns {Promise<any>}
   */
  send(resource, action, payload = {}, last = {}) {
    const answer = this.#ask(resource, action, payload, last);
    if (typeof last === "function") {
      answer.then(
        (data) => call(last, data, null),
        (error) => call(last, null, error),
      );
    }
    return answer;
  }

  /**
   * @param {string} resource
   * @param {string} action
   * @param {any} payload
   * @param {RequestOptions} options
   */
  async #ask(resource, action, payload, { timeout = this.#options.requestTimeout, retry = false }) {
    return this.#requests.ask(this.#nextId(), resource, action, payload, { timeout, retry });
  }

  #nextId() {
    return `c${++this.#lastId}`;
  }

  /**
   * Call `handler(data, event)` with each event of that type, of any room.
   *
   * @template {keyof A["events"] & string} E
   * @param {E} type
   * @param {(data: A["events"][E], event: RealtimeEvent) => unknown} handler
   * @returns {Undo} Ends it.
   */
  on(type, handler) {
    return this.#events.add(type, handler);
  }

  /**
   * Call `callback` as the property `onConnect` and its like, for when there is more than one who
   * wants to know.
   *
   * @template {keyof Hooks} H
   * @param {H} hook
   * @param {(value: Hooks[H]) => unknown} callback
   * @returns {Undo} Ends it.
   */
  listen(hook, callback) {
    return this.#hooks.add(hook, callback);
  }

  /**
   * Follow `room`, and come back to it after each reconnect.
   *
   * @param {string} room
   * @returns {import("./rooms.js").Room<A["events"]>} At once; its `ready` waits for the server.
   */
  subscribe(room) {
    if (!isRoomName(room)) {
      throw new TypeError(`${JSON.stringify(room)} can't name a room: write 1 to 256 printable characters`);
    }
    return this.#following.subscribe(room);
  }

  // Coming and going

  async #open() {
    const attempt = ++this.#attempt;
    this.#openedAt = Date.now();
    const { connectTimeout } = this.#options;
    this.#setTimer(connectTimeout, () => this.#fail(new RequestTimedOut("connect", connectTimeout)));
    this.#setState("connecting");
    try {
      const token = await this.#tokens.forHandshake();
      const { WebSocket = globalThis.WebSocket, fallback } = this.#options;
      // Nothing waits for it: where there is no network it may take as long as it likes.
      if (fallback && this.#blocked.times > 1) import("./fallback.js").then((loaded) => (this.#fallback = loaded), () => {});
      const Socket = this.#fallback?.choose(this.#blocked, fallback, WebSocket) ?? WebSocket;
      if (attempt !== this.#attempt) return;
      this.#blocked.times += 1;
      const protocols = token === null ? [SUBPROTOCOL] : [SUBPROTOCOL, BEARER_PREFIX + token];
      this.#link = new Link(
        new Socket(this.#url ?? "", protocols),
        token,
        (link, frame) => link === this.#link && this.#take(link, frame),
        (link, end) => link === this.#link && this.#ended(link, end),
      );
    } catch (error) {
      if (attempt !== this.#attempt) return;
      if (isFinal(error)) this.#finish(error);
      else this.#fail(asError(error));
    }
  }

  /** @param {Error} error */
  #fail(error) {
    this.#drop(false);
    this.#wait(null);
    this.#tell("error", this.onError, error);
  }

  /**
   * @param {Link} link
   * @param {End} end
   */
  #ended(link, { code, reason, mayReturn, retryAfter }) {
    if (code !== CloseCode.abnormal) this.#blocked.times = 0;
    this.#drop(code === CloseCode.resync);
    try {
      if (code === CloseCode.token_expired || code === CloseCode.unauthorized) {
        this.#tokens.refused(link.token, reason, code);
      } else if (!mayReturn) {
        throw new ConnectionClosed(code, reason);
      }
    } catch (error) {
      this.#finish(/** @type {ConnectionClosed} */ (error));
      return;
    }
    const { connectedAt } = link;
    this.#wait(retryAfter);
    if (this.#state !== "waiting") return; // A callback has disconnected.
    if (connectedAt === null) this.#tell("error", this.onError, new ConnectionClosed(code, reason));
    else this.#tell("disconnect", this.onDisconnect, { code, reason, reconnecting: true });
  }

  /** @param {boolean} positionsAreVoid */
  #drop(positionsAreVoid) {
    const link = this.#link;
    this.#link = null;
    if (link?.connectedAt) {
      this.#greeting = deferred();
      if (Date.now() - link.connectedAt >= this.#backoff.stableAfter) this.#failures = 0;
    }
    this.#requests.lost();
    this.#following.lost(positionsAreVoid);
    link?.close();
  }

  /** @param {number | null} retryAfter Within how many milliseconds the server wants us back. */
  #wait(retryAfter) {
    this.#attempt += 1;
    let delay = retryAfter === null ? 0 : this.#backoff.spread(retryAfter);
    // A server that sends everybody away at once isn't asked ever faster.
    if (retryAfter === null || this.#failures > 0) delay = Math.max(delay, this.#backoff.delay(this.#failures));
    this.#failures += 1;
    this.#setTimer(delay + (isHidden() ? HIDDEN_DELAY : 0), () => this.#open());
    this.#setState("waiting");
  }

  /** Don't sit out a delay, nor trust a socket, after the network or the page was away. */
  #wake() {
    if (this.#state !== "waiting") {
      this.#link?.probe();
      return;
    }
    // But for a page that is woken again and again.
    const early = Math.max(0, this.#openedAt + this.#backoff.base - Date.now());
    this.#setTimer(early, () => this.#open());
  }

  /** A page in the back/forward cache can't keep a socket. */
  #suspend() {
    const wasConnected = this.#link?.connectedAt;
    this.#drop(false);
    this.#attempt += 1;
    clearTimeout(this.#timer);
    this.#setState("waiting");
    if (wasConnected && this.#state === "waiting") {
      const gone = { code: CloseCode.going_away, reason: "the page was left", reconnecting: true };
      this.#tell("disconnect", this.onDisconnect, gone);
    }
  }

  /** @param {ConnectionClosed | null} error Why, null if the app wishes it. */
  #finish(error) {
    const why = error ?? new ConnectionLost(false);
    this.#attempt += 1;
    clearTimeout(this.#timer);
    this.#unfollowPage();
    const greeting = this.#greeting;
    this.userId = null;
    this.#tokens.forget();
    this.#requests.end();
    this.#following.end(why);
    this.#drop(true);
    this.#setState("disconnected");
    greeting.reject(why);
    if (error !== null) this.#tell("error", this.onError, error);
    const { closeCode: code = CloseCode.normal, reason = "" } = error ?? {};
    this.#tell("disconnect", this.onDisconnect, { code, reason, reconnecting: false });
  }

  /**
   * @param {number} delay
   * @param {() => void} work
   */
  #setTimer(delay, work) {
    clearTimeout(this.#timer);
    this.#timer = after(delay, work);
  }

  /** @param {ConnectionState} state */
  #setState(state) {
    if (state === this.#state) return;
    this.#state = state;
    call(this.onStateChange, state);
    // Unless that has changed it again.
    if (state === this.#state) this.#hooks.tell("state", state);
  }

  /**
   * @template {keyof Hooks} H
   * @param {H} hook
   * @param {((value: Hooks[H]) => unknown) | null} property
   * @param {Hooks[H]} value
   */
  #tell(hook, property, value) {
    call(property, value);
    this.#hooks.tell(hook, value);
  }

  // What the server says

  /**
   * @param {Link} link
   * @param {ServerFrame} frame
   */
  #take(link, frame) {
    const isGreeted = link.connectedAt !== null;
    if (frame.type === "connected" && !isGreeted) this.#greeted(link, frame.payload);
    else if (frame.type === "event" && isGreeted) this.#following.take(frame);
    // Before the greeting it is about the token, and the end that follows tells why as well.
    else if (frame.type === "error" && isGreeted) this.#tell("error", this.onError, toError(frame.payload));
  }

  /**
   * Be connected.
   *
   * @param {Link} link
   * @param {Greeting} greeting
   */
  #greeted(link, greeting) {
    clearTimeout(this.#timer);
    link.connectedAt = Date.now();
    this.#blocked.times = 0;
    this.#tokens.accepted(link.token, greeting.expires_at);
    const userId = greeting.user_id ?? null;
    if (userId !== this.userId) {
      this.#following.forgetUser();
      // What one user asked isn't sent as another.
      if (this.userId !== null) this.#requests.refuse();
    }
    this.userId = userId;
    this.connectionId = greeting.connection_id ?? null;
    const rooms = Array.isArray(greeting.rooms) ? greeting.rooms.filter(isPosition) : [];
    this.#following.greeted(link, rooms);
    if (link !== this.#link) return; // A callback has disconnected.
    this.#requests.mostBytes = greeting.max_message_size ?? Infinity;
    this.#requests.opened(link);
    link.watch(greeting.ping_interval, () => this.#refreshing.look());
    this.#refreshing.show(link); // A fresh token may have come since the handshake.
    this.#greeting.resolve(greeting);
    this.#setState("connected");
    if (link === this.#link) this.#tell("connect", this.onConnect, greeting);
  }
}

/**
 * Make a client; `connect()` connects it.
 *
 * @template {Api} [A=Api]
 * @param {ConstructorParameters<typeof Client>[0]} [token]
 * @param {ClientOptions} [options]
 * @returns {Client<A>}
 */
export function createWebSocketClient(token, options) {
  return new Client(token, options);
}
