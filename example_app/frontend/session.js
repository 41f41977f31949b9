/** Who is logged in, in this tab. */

import { UnauthorizedError } from "quart-realtime";

const KEY = "chat.react";

async function post(path, { body, token } = {}) {
  const headers = { "Content-Type": "application/json" };
  if (token) headers.Authorization = `Bearer ${token}`;
  const response = await fetch(path, { method: "POST", headers, body: body && JSON.stringify(body) });
  const answer = await response.json();
  if (response.status === 401) throw new UnauthorizedError(answer.message);
  if (!response.ok) throw new Error(answer.message);
  return answer;
}

export const tokens = () => JSON.parse(sessionStorage.getItem(KEY) ?? "null");

export async function logIn(username, password) {
  const fresh = await post("/auth/login", { body: { username, password } });
  sessionStorage.setItem(KEY, JSON.stringify(fresh));
}

export const logOut = () => sessionStorage.removeItem(KEY);

/** The token to connect with, or for any other reason a fresh one. */
export async function getToken(reason) {
  const before = tokens();
  if (before === null) throw new UnauthorizedError("log in first");
  if (reason === "connect") return before.access_token;
  const fresh = { ...before, ...(await post("/auth/refresh", { token: before.refresh_token })) };
  sessionStorage.setItem(KEY, JSON.stringify(fresh));
  return fresh.access_token;
}
