"use server";

import { cookies } from "next/headers";

import { COOKIE, quart } from "../session";

/** Log in as a demo user, whose password is the name. */
export async function logIn(form: FormData) {
  const user = form.get("user");
  const headers = { "Content-Type": "application/json" };
  const body = JSON.stringify({ username: user, password: user });
  const { refresh_token } = await quart("/auth/login", { method: "POST", headers, body });
  const secure = process.env.NODE_ENV === "production";
  (await cookies()).set(COOKIE, refresh_token, { httpOnly: true, sameSite: "lax", secure });
}

export async function logOut() {
  (await cookies()).delete(COOKIE);
}
