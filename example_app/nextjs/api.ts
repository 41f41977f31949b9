/** What the Quart server answers and tells. */

export type User = { id: string; name: string };
export type Conversation = { id: string; title: string; members: string[] };
export type Message = { id: string; conversation_id: string; sender_id: string; content: string };

/** What goes over the websocket; `useRealtime<Chat>()` is checked against it. */
export interface Chat {
  requests: {
    messages: {
      create: {
        payload: { message: { conversation_id: string; content: string } };
        response: { message: Message };
      };
    };
  };
  events: { new_message: Message };
}
