/**
 * Requests, events and rooms over one websocket that comes back by itself.
 *
 *     import { createWebSocketClient } from "quart-realtime";
 *
 *     const client = createWebSocketClient(token);
 *     client.connect();
 *     const { conversations } = await client.send("conversations", "get_all", { user_id: "user123" });
 *     client.on("new_message", (message) => console.log(message));
 */

export { Backoff } from "./backoff.js";
export { Client, createWebSocketClient } from "./client.js";
export {
  ConnectionClosed,
  ConnectionLost,
  QueueFull,
  RealtimeError,
  RequestTimedOut,
  UnauthorizedError,
} from "./errors.js";
export { CloseCode } from "./protocol.js";
export { Room } from "./rooms.js";
