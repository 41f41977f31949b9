/** What the page agrees on with its server, and the one hook that the package leaves to the app. */

import { useEffect, useEffectEvent } from "react";
import { useRealtime } from "quart-realtime/react";

export const OPTIONS = { url: "/ws" };

/** Through a lost connection, once, for as many milliseconds. */
export const PATIENTLY = { retry: true, timeout: 60_000 };

const PREFIX = "conversation:";

export const roomOf = (conversation_id) => PREFIX + conversation_id;
export const inRoom = (room) => (room.startsWith(PREFIX) ? room.slice(PREFIX.length) : null);

/** Everybody's own room, where the server tells what belongs to no conversation. */
export const isOwnRoom = (room) => room.startsWith("user:");

/** Call `handler` with what the client tells of itself: "disconnect", "recovered" and so on. */
export function useListen(hook, handler) {
  const client = useRealtime();
  const told = useEffectEvent(handler);
  useEffect(() => client.listen(hook, (value) => told(value)), [client, hook]);
}
