/** A program of somebody who has installed the package: `tsc` reads this, nobody runs it. */

import { createWebSocketClient, RealtimeError, UnauthorizedError } from "quart-realtime";
import {
  RealtimeProvider,
  useConnectionState,
  useEvent,
  usePresence,
  useRealtime,
  useRequest,
  useRoom,
} from "quart-realtime/react";

interface Message {
  id: string;
  content: string;
}

interface Chat {
  requests: {
    messages: {
      create: { payload: { message: { content: string } }; response: { message: Message } };
    };
  };
  events: { new_message: Message };
}

const client = createWebSocketClient<Chat>(async (reason) => {
  if (reason === "expired") throw new UnauthorizedError("log in again");
  return "token";
});
const answer = await client.send("messages", "create", { message: { content: "Hola" } }, { retry: true });
answer.message.id satisfies string;
client.on("new_message", ({ content }) => content satisfies string);
client.onError = (error) => error instanceof RealtimeError && (error.code satisfies string);

// @ts-expect-error not what the action takes
client.send("messages", "create", { message: { content: 1 } });
// @ts-expect-error no such event
client.on("nonsense", () => {});

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
