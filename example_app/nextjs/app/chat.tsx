"use client";

import { useRouter } from "next/navigation";
import { useConnectionState, useEvent, useRealtime } from "quart-realtime/react";
import { useEffect, useState } from "react";

import type * as api from "../api";
import { logOut } from "./actions";
import { Thread } from "./thread";

const STATES = {
  connecting: "Connecting…",
  connected: "Connected",
  waiting: "Offline, trying again…",
  disconnected: "Disconnected",
};

export function Chat({ conversations, users }: { conversations: api.Conversation[]; users: api.User[] }) {
  const client = useRealtime<api.Chat>();
  const state = useConnectionState();
  const [open, setOpen] = useState(conversations[0]?.id);
  const [unread, setUnread] = useState<Record<string, number>>({});
  const shown = conversations.find(({ id }) => id === open);
  const names = new Map(users.map(({ id, name }) => [id, name]));

  useServerData();
  useEvent("new_message", ({ conversation_id: id, sender_id }: api.Message) => {
    if (id === open || sender_id === client.userId) return;
    setUnread((before) => ({ ...before, [id]: (before[id] ?? 0) + 1 }));
  });
  const show = (id: string) => {
    setOpen(id);
    setUnread((before) => ({ ...before, [id]: 0 }));
  };

  return (
    <div className="chat" data-showing={shown ? "thread" : "list"}>
      <header className="top">
        <h1>Chat, in Next.js</h1>
        <p className="connection" id="connection" role="status" data-state={state}>{STATES[state]}</p>
        <p className="me">{names.get(client.userId ?? "")}</p>
        <form action={logOut}><button id="logout">Log out</button></form>
      </header>
      <nav className="sidebar" aria-label="Conversations">
        <ul id="conversations">
          {conversations.map(({ id, title, members }) => (
            <li key={id}>
              <button aria-current={id === open || undefined} onClick={() => show(id)}>
                <span className="title">{title}</span>
                <span className="quiet">{members.map((member) => names.get(member)).join(", ")}</span>
                {unread[id] > 0 && <span className="unread">{unread[id]}</span>}
              </button>
            </li>
          ))}
        </ul>
      </nav>
      {shown && <Thread key={shown.id} {...shown} names={names} onBack={() => setOpen("")} />}
    </div>
  );
}

/** Have the server render the page again when something in it has changed, or may have. */
function useServerData() {
  const client = useRealtime<api.Chat>();
  const { refresh } = useRouter();
  useEvent("conversation_created", refresh);
  useEvent("conversation_updated", refresh);
  useEvent("conversation_deleted", refresh);
  useEvent("member_added", refresh);
  useEvent("member_removed", refresh);
  // No event was heard before the first connect; and where the session is over, the page is the login.
  useEffect(() => client.listen("connect", refresh), [client, refresh]);
  useEffect(() => client.listen("disconnect", (end) => end.reconnecting || refresh()), [client, refresh]);
}
