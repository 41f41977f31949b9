/** How the hooks are typed for who has installed the package: `tsc` reads this, nobody runs it. */

import { createWebSocketClient } from "quart-realtime";
import {
  RealtimeProvider,
  typedHooks,
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

const typed = typedHooks<Chat>();

export function Typed() {
  const { data, reload } = typed.useRequest("messages", "create", { message: { content: "Hola" } }, { enabled: true });
  data?.message.content satisfies string | undefined;
  typed.useEvent("new_message", ({ content }, event) => [content, event.room] satisfies string[]);
  typed.useRoom("conversation:conv", { new_message: ({ id }) => id satisfies string }, { onRecovered: reload });
  typed.useRealtime().on("new_message", ({ id }) => id satisfies string);
  // @ts-expect-error no such action
  typed.useRequest("messages", "nonsense");
  // @ts-expect-error what the action takes can't be left out
  typed.useRequest("messages", "create");
  // @ts-expect-error not what the action takes
  typed.useRequest("messages", "create", { message: { content: 1 } });
  // @ts-expect-error no such event
  typed.useEvent("nonsense", () => {});
  // @ts-expect-error no such event
  typed.useRoom("hall", { nonsense: () => {} });
  return null;
}
