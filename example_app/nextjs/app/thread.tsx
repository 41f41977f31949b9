"use client";

import { useRealtime, useRequest, useRoom } from "quart-realtime/react";
import type * as api from "../api";
import { Composer } from "./composer";

const STUCK_TO_THE_END = { display: "flex", flexDirection: "column-reverse" } as const;

type Props = api.Conversation & { names: Map<string, string>; onBack: () => void };

export function Thread({ id, title, names, onBack }: Props) {
  const client = useRealtime<api.Chat>();
  const latest = { conversation_id: id, order: "desc", limit: 50 };
  const { data, error, reload } = useRequest<{ messages: api.Message[] }>("messages", "get_all", latest);
  const events = { new_message: reload, message_updated: reload, message_deleted: reload };
  // After a return the events that were missed come by themselves, unless it took too long.
  const onRecovered = (recovered: boolean) => recovered || reload();
  const { presence } = useRoom(`conversation:${id}`, events, { onRecovered });
  return (
    <main className="thread" aria-label={title}>
      <header className="thread-head">
        <button className="back" aria-label="Back" onClick={onBack}>‹</button>
        <div>
          <h2>{title}</h2>
          <p className="quiet" id="presence">
            {presence.map(({ user_id }) => (
              <span key={user_id} className="person here">{names.get(user_id)}</span>
            ))}
          </p>
        </div>
      </header>
      <div className="scroll" style={STUCK_TO_THE_END} role="log" aria-label="Messages" tabIndex={0}>
        <ol id="messages">
          {data?.messages.toReversed().map(({ id, sender_id, content }) => (
            <li key={id} className={sender_id === client.userId ? "message own" : "message"}>
              <div className="bubble">
                <p className="meta"><strong>{names.get(sender_id)}</strong></p>
                <p className="content">{content}</p>
              </div>
            </li>
          ))}
        </ol>
        {error && <p className="failure" role="alert">{error.message}</p>}
      </div>
      <Composer conversation_id={id} />
    </main>
  );
}
