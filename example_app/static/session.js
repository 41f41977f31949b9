/**
 * Who is logged in, in this tab: the tokens, and how to get and renew them over REST.
 * Each tab has a login of its own, so that two people can chat in one browser.
 */

import { UnauthorizedError } from "../ws/client/index.js";
import { post } from "./rest.js";

const KEY = "chat.tokens";

let tokens = JSON.parse(sessionStorage.getItem(KEY) ?? "null");

function keep(fresh) {
  tokens = fresh;
  if (fresh === null) sessionStorage.removeItem(KEY);
  else sessionStorage.setItem(KEY, JSON.stringify(fresh));
}

/** Only a new login helps where a token is refused; anything else may be tried again. */
const refused = (error) => {
  throw error.status === 401 ? new UnauthorizedError(error.message) : error;
};

export const isLoggedIn = () => tokens !== null;

export async function logIn(username, password) {
  keep(await post("auth/login", { body: { username, password } }));
}

export async function logOut() {
  const { access_token: token, refresh_token } = tokens;
  keep(null);
  await post("auth/logout", { token, body: { refresh_token } }).catch(() => {});
}

/**
 * The token to connect with, or for any other reason a fresh one.
 * Throws an UnauthorizedError when only a new login will help.
 */
export async function getToken(reason) {
  if (tokens === null) throw new UnauthorizedError("logged out");
  if (reason !== "connect") {
    const before = tokens;
    const fresh = await post("auth/refresh", { token: before.refresh_token }).catch(refused);
    if (tokens !== before) throw new UnauthorizedError("logged out");
    keep({ ...tokens, ...fresh });
  }
  return tokens.access_token;
}
