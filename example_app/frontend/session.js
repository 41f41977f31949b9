/**
 * Who is logged in, in this tab: the tokens, and how to get and renew them over REST.
 * Each tab has a login of its own, so that two people can chat in one browser.
 */

import { UnauthorizedError } from "quart-realtime";

import { post } from "../static/rest.js";

const KEY = "chat.tokens";

/** Only a new login helps where a token is refused; anything else may be tried again. */
const refused = (error) => {
  throw error.status === 401 ? new UnauthorizedError(error.message) : error;
};

export class Session {
  #tokens;

  constructor(tokens) {
    this.#tokens = tokens;
  }

  /** The session that this tab had before it was reloaded, or null. */
  static resume() {
    const tokens = JSON.parse(sessionStorage.getItem(KEY) ?? "null");
    return tokens && new Session(tokens);
  }

  static async logIn(username, password) {
    const session = new Session(null);
    session.#keep(await post("/auth/login", { body: { username, password } }));
    return session;
  }

  #keep(tokens) {
    this.#tokens = tokens;
    sessionStorage.setItem(KEY, JSON.stringify(tokens));
  }

  /**
   * The token to connect with, or for any other reason a fresh one.
   * Throws an UnauthorizedError when only a new login will help.
   */
  getToken = async (reason) => {
    this.#check();
    if (reason !== "connect") {
      const fresh = await post("/auth/refresh", { token: this.#tokens.refresh_token }).catch(refused);
      this.#check(); // Meanwhile somebody may have logged out.
      this.#keep({ ...this.#tokens, ...fresh });
    }
    return this.#tokens.access_token;
  };

  #check() {
    if (this.#tokens === null) throw new UnauthorizedError("logged out");
  }

  /** Log out, here at once and on the server as soon as it hears of it. */
  end() {
    if (this.#tokens === null) return;
    const { access_token: token, refresh_token } = this.#tokens;
    this.#tokens = null;
    sessionStorage.removeItem(KEY);
    post("/auth/logout", { token, body: { refresh_token } }).catch(() => {}); // They expire anyhow.
  }
}
