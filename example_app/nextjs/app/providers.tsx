"use client";

import { UnauthorizedError } from "quart-realtime";
import { RealtimeProvider } from "quart-realtime/react";
import type { ReactNode } from "react";

export function Providers({ children }: { children: ReactNode }) {
  const url = process.env.NEXT_PUBLIC_REALTIME_URL ?? "/ws";
  return <RealtimeProvider token={getToken} options={{ url }}>{children}</RealtimeProvider>;
}

/** Called in the browser, whenever a token is needed. */
async function getToken(): Promise<string> {
  const response = await fetch("/token", { method: "POST" });
  if (response.status === 401) throw new UnauthorizedError("log in again"); // Any other error is tried again.
  if (!response.ok) throw new Error(`no token: ${response.status}`);
  return (await response.json()).access_token;
}
