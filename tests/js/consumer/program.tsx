/** How the hooks are typed for who has installed the package: `tsc` reads this, nobody runs it. */

import { createWebSocketClient } from "quart-realtime";
import {
  RealtimeProvider,
  useConnectionState,
  useEvent,
  usePresence,
  useRealtime,
  useRequest,
  useRoom,
} from "quart-realtime/react";

import type { Chat, Message } from "./client.js";

const client = createWebSocketClient<Chat>("token");

function Messages() {
  const { data, error, isLoading, reload } = useRequest<{ messages: Message[] }>("messages", "get_all", {});
  const { isReady, recovered, presence } = useRoom(
    "conversation:conv",
    { new_message: reload },
    { onRecovered: (recovered) => recovered || reload() },
  );
  const chat = useRealtime<Chat>();
  useEvent("new_message", (told: Message, event) => [told.id, event.room] satisfies string[]);
  usePresence(null) satisfies typeof presence;
  useConnectionState() satisfies "disconnected" | "connecting" | "connected" | "waiting";
  [isLoading, isReady, recovered] satisfies boolean[];
  // @ts-expect-error no such action
  chat.send("messages", "nonsense");
  // @ts-expect-error it may not have come yet
  data.messages;
  return <p>{error?.message ?? data?.messages.map(({ content }) => content).join()}</p>;
}

export const app = (
  <RealtimeProvider client={client}>
    <RealtimeProvider token={() => "token"} options={{ url: "/ws" }}>
      <Messages />
    </RealtimeProvider>
  </RealtimeProvider>
);

// @ts-expect-error a provider has no such option
export const wrong = <RealtimeProvider token="token" options={{ uri: "/ws" }} />;
