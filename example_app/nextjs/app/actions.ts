"use server";

import { cookies } from "next/headers";

import { COOKIE, accessToken, quart } from "../session";

const JSON_BODY = { "Content-Type": "application/json" };

/** Log in as a demo user, whose password is the name. */
export async function logIn(form: FormData) {
  const user = form.get("user");
  const body = JSON.stringify({ username: user, password: user });
  const tokens = await quart("/auth/login", { method: "POST", headers: JSON_BODY, body });
  if (tokens === null) return; // Somebody has deleted the account: the page is the login still.
  const secure = process.env.NODE_ENV === "production";
  (await cookies()).set(COOKIE, tokens.refresh_token, { httpOnly: true, sameSite: "lax", secure });
}

/** Have Quart refuse the session's tokens, and forget it. */
export async function logOut() {
  const store = await cookies();
  const refresh_token = store.get(COOKIE)?.value;
  const token = await accessToken();
  store.delete(COOKIE);
  if (token === null) return;
  const headers = { ...JSON_BODY, Authorization: `Bearer ${token}` };
  await quart("/auth/logout", { method: "POST", headers, body: JSON.stringify({ refresh_token }) });
}
