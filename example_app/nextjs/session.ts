/** On the server: whose page it is, and what Quart answers them. */

import { cookies } from "next/headers";

/** Holds the refresh token, out of all scripts' reach. */
export const COOKIE = "chat_session";

/** What Quart answers; null where it wants somebody to log in. */
export async function quart(path: string, init: RequestInit) {
  const response = await fetch((process.env.QUART_URL ?? "http://localhost:8000") + path, init);
  if (response.status === 401) return null;
  if (!response.ok) throw new Error(`Quart answered ${response.status} to ${path}`);
  return response.status === 204 ? undefined : response.json();
}

/** A fresh access token; null where nobody is logged in. */
export async function accessToken(): Promise<string | null> {
  const session = (await cookies()).get(COOKIE);
  if (session === undefined) return null;
  const headers = { Authorization: `Bearer ${session.value}` };
  const fresh = await quart("/auth/refresh", { method: "POST", headers });
  return fresh && fresh.access_token;
}
