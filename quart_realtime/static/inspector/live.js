/** What goes on in the server, over a websocket of the inspector's own that comes back by itself. */

import { Backoff } from "../client/backoff.js";
import { BEARER_PREFIX, SUBPROTOCOL } from "../client/protocol.js";

/** After one of these the page may look again with the token it has; else it asks for another. */
const AGAIN = new Set([1000, 1001, 1005, 1006, 1011, 1012, 1013, 4005]);

/**
 * What the page wishes to see; see `Wish` in `inspector.py`.
 *
 * @typedef {{ paused: boolean, connection: string | null, direction: string | null, type: string | null,
 *   room: string | null, search: string, opened: string | null }} Wish
 */

/** The server doesn't let this page look. */
export class Refused extends Error {}

/** Where the websocket of the inspector, and its login, are. */
const here = new URL("./", import.meta.url);

/**
 * Ask whether one may look, and who that is.
 *
 * @param {string | null} token
 */
export async function logIn(token) {
  const answer = await fetch(new URL("login", here), {
    method: "POST",
    headers: token === null ? {} : { Authorization: `Bearer ${token}` },
    credentials: "same-origin",
  });
  if (answer.ok) return answer.json();
  const error = await answer.json().catch(() => ({}));
  if (answer.status === 401 || answer.status === 403) throw new Refused(error.message ?? "refused");
  throw new Error(error.message ?? `the server answered ${answer.status}`);
}

export class Live {
  /** @type {WebSocket | null} */
  #socket = null;
  #backoff = new Backoff();
  #failures = 0;
  #token = /** @type {string | null} */ (null);
  #wish;
  #take;
  #tell;

  /**
   * @param {Wish} wish Sent at each connect, and by `wish()`.
   * @param {(news: any) => void} take Called with what the server tells.
   * @param {(state: "connecting" | "connected" | "waiting" | "refused", why?: string) => void} tell
   */
  constructor(wish, take, tell) {
    this.#wish = wish;
    this.#take = take;
    this.#tell = tell;
  }

  /** @param {string | null} token */
  open(token) {
    this.#token = token;
    this.#tell("connecting");
    const url = new URL("live", here);
    url.protocol = url.protocol.replace("http", "ws");
    const offered = token === null ? [SUBPROTOCOL] : [SUBPROTOCOL, BEARER_PREFIX + token];
    const socket = new WebSocket(url, offered);
    this.#socket = socket;
    socket.onopen = () => {
      this.#failures = 0;
      this.#tell("connected");
      this.wish();
    };
    socket.onmessage = ({ data }) => this.#take(JSON.parse(data));
    socket.onclose = ({ code, reason }) => this.#ended(code, reason);
  }

  /** Tell the server what the page wishes to see by now. */
  wish() {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(this.#wish));
  }

  /**
   * @param {number} code
   * @param {string} reason
   */
  #ended(code, reason) {
    this.#socket = null;
    if (!AGAIN.has(code)) {
      this.#tell("refused", reason);
      return;
    }
    this.#tell("waiting");
    setTimeout(() => this.#again(), this.#backoff.delay(this.#failures++));
  }

  async #again() {
    try {
      // A browser isn't told why a handshake failed; this says whether it is the token.
      await logIn(this.#token);
      this.open(this.#token);
    } catch (error) {
      if (error instanceof Refused) this.#tell("refused", error.message);
      else this.#ended(1006, "");
    }
  }
}
