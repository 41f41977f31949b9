/** How the client is typed for who has installed the package: `tsc` reads this, nobody runs it. */

import { createWebSocketClient, RealtimeError, UnauthorizedError } from "quart-realtime";

export interface Message {
  id: string;
  content: string;
}

export interface Chat {
  requests: {
    messages: {
      create: { payload: { message: { content: string } }; response: { message: Message } };
    };
  };
  events: { new_message: Message };
}

const client = createWebSocketClient<Chat>("token");
const { message } = await client.send("messages", "create", { message: { content: "Hola" } }, { retry: true });
message.id satisfies string;
client.send("messages", "create", { message: { content: "Hola" } }, (data, error) => {
  data.message.content satisfies string;
  error?.code satisfies string | undefined;
});
client.on("new_message", ({ content }) => content satisfies string);
client.subscribe("hall").on("new_message", ({ content }, event) => [content, event.room] satisfies string[]);
client.onError = (error) => error instanceof RealtimeError && (error.code satisfies string);
client.onConnect = (greeting) => greeting.user_id satisfies string | null | undefined;

// @ts-expect-error no such resource
client.send("nonsense", "create");
// @ts-expect-error no such action
client.send("messages", "nonsense");
// @ts-expect-error not what the action takes
client.send("messages", "create", { message: { content: 1 } });
// @ts-expect-error no such event
client.on("nonsense", () => {});

const loose = createWebSocketClient(async (reason) => {
  if (reason === "expired") throw new UnauthorizedError("log in again");
  return `${reason satisfies "connect" | "refresh"}`;
});
const answer = await loose.send("anything", "at_all", { n: 1 });
answer.whatever.it.is;
loose.on("anything", (data) => data.at.all);
