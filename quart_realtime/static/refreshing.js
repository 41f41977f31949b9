/** A fresh token, shown on the live connection before the old one expires. */

import { ConnectionLost } from "./errors.js";
import { authFrame } from "./protocol.js";

/** @typedef {import("./link.js").Link} Link */

export class Refreshing {
  #tokens;
  #nextId;
  #live;
  #failed;
  #lastId = "";

  /**
   * @param {import("./tokens.js").Tokens} tokens
   * @param {object} options
   * @param {() => string} options.nextId
   * @param {() => Link | null} options.live The present connection.
   * @param {(error: unknown) => void} options.failed Is told what went wrong.
   */
  constructor(tokens, { nextId, live, failed }) {
    this.#tokens = tokens;
    this.#nextId = nextId;
    this.#live = live;
    this.#failed = failed;
  }

  /** Get a fresh token and show it, where one is due; if that fails, another time. */
  async look() {
    if (!this.#tokens.takeRefresh()) return;
    const link = this.#live();
    try {
      await this.#tokens.renew("refresh");
      const live = this.#live();
      if (live?.connectedAt) this.show(live);
    } catch (error) {
      if (link === this.#live()) this.#postpone(error);
    }
  }

  /**
   * Show the server the current token, unless it is the one that it knows.
   *
   * @param {Link} link
   */
  show(link) {
    const token = this.#tokens.current;
    if (token === null || token === link.token) return;
    this.#tokens.postponeRefresh();
    link.forget(this.#lastId);
    const id = (this.#lastId = this.#nextId());
    link.ask(id, authFrame(id, token), (payload, error) => {
      if (error instanceof ConnectionLost) return; // The next connection shows it.
      if (error === null) {
        link.token = token;
        this.#tokens.accepted(token, payload?.expires_at);
        return;
      }
      try {
        if (error.code === "unauthorized") this.#tokens.refused(token, error.message);
        this.#postpone(error);
      } catch (final) {
        this.#postpone(final);
      }
    });
  }

  /** @param {unknown} error */
  #postpone(error) {
    this.#tokens.postponeRefresh();
    this.#failed(error);
  }
}
