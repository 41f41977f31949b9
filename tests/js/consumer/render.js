/** All hooks rendered on a server, where nothing may be opened, awaited or left to chance. */

import { text } from "node:stream/consumers";
import { PassThrough } from "node:stream";

import { createElement as h } from "react";
import { renderToPipeableStream, renderToString } from "react-dom/server";

const REFUSED = ["WebSocket", "fetch", "setTimeout", "setInterval", "addEventListener"];
const refuse = (name) => () => {
  throw new Error(`${name} was called`);
};
for (const name of REFUSED) globalThis[name] = refuse(name);
Math.random = refuse("Math.random");

const { createWebSocketClient } = await import("quart-realtime");
const { RealtimeProvider, useConnectionState, useEvent, usePresence, useRealtime, useRequest, useRoom } =
  await import("quart-realtime/react");

function Page() {
  const { state } = useRealtime();
  const { isLoading } = useRequest("messages", "get_all", { conversation_id: "conv" });
  const { isReady } = useRoom("conversation:conv", { new_message: refuse("a handler") });
  const present = usePresence("conversation:conv");
  useEvent("new_message", refuse("a handler"));
  const shown = [state, useConnectionState(), isLoading ? "loading" : "loaded"].join(" ");
  return h("p", null, `${shown} ${isReady ? "inside" : "outside"}, ${present.length || "nobody"}`);
}

const apps = [
  h(RealtimeProvider, { token: refuse("getToken") }, h(Page)),
  h(RealtimeProvider, { client: createWebSocketClient("token", { url: "/ws" }) }, h(Page)),
];

for (const app of apps) {
  console.log(renderToString(app));
  console.log(await text(renderToPipeableStream(app).pipe(new PassThrough())));
}
