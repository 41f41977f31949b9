/** The chat once more, in React: what the hooks are for. */

import { useRef, useState } from "react";
import {
  RealtimeProvider,
  useConnectionState,
  useEvent,
  usePresence,
  useRealtime,
  useRequest,
  useRoom,
} from "quart-realtime/react";

import { getToken, logIn, logOut, tokens } from "./session.js";

export function App() {
  const [isIn, setIn] = useState(tokens() !== null);
  if (!isIn) return <Login onIn={() => setIn(true)} />;
  const leave = () => {
    logOut();
    setIn(false);
  };
  return (
    <RealtimeProvider token={getToken} options={{ url: "/ws" }}>
      <Chat onOut={leave} />
    </RealtimeProvider>
  );
}

function Login({ onIn }) {
  const [problem, setProblem] = useState("");
  const comeIn = (name) => logIn(name, name).then(onIn, (error) => setProblem(error.message));
  return (
    <main className="login">
      <div className="card">
        <h1>Chat, in React</h1>
        <p className="quiet">Come in as a demo user, and as another in a second window:</p>
        <div className="demo">
          {["ana", "luis", "eva"].map((name) => (
            <button key={name} type="button" data-demo={name} onClick={() => comeIn(name)}>
              {name[0].toUpperCase() + name.slice(1)}
            </button>
          ))}
        </div>
        <p className="failure" role="alert">{problem}</p>
      </div>
    </main>
  );
}

const LIST_CHANGES = [
  "conversation_created",
  "conversation_updated",
  "conversation_deleted",
  "member_added",
  "member_removed",
];

const STATES = {
  connecting: "Connecting…",
  connected: "Connected",
  waiting: "Offline, trying again…",
  disconnected: "Disconnected",
};

function Chat({ onOut }) {
  const state = useConnectionState();
  const { userId } = useRealtime();
  const { data: users } = useRequest("users", "get_all", { limit: 100 });
  const { data, error, reload } = useRequest("conversations", "get_all", { limit: 100 });
  const [open, setOpen] = useState(null);
  for (const event of LIST_CHANGES) useEvent(event, reload); // As many at each render.
  const conversations = data?.conversations ?? [];
  const shown = conversations.find(({ id }) => id === open) ?? conversations[0];
  const names = new Map(users?.users.map(({ id, name }) => [id, name]));
  return (
    <div className="chat" data-showing="thread">
      <header className="top">
        <h1>Chat, in React</h1>
        <p className="connection" id="connection" role="status" data-state={state}>{STATES[state]}</p>
        <p className="me">{names.get(userId)}</p>
        <button id="logout" onClick={onOut}>Log out</button>
      </header>
      <nav className="sidebar" aria-label="Conversations">
        <ul id="conversations">
          {conversations.map(({ id, title }) => (
            <li key={id}>
              <button type="button" aria-current={id === shown?.id} onClick={() => setOpen(id)}>
                <span className="title">{title}</span>
              </button>
            </li>
          ))}
        </ul>
      </nav>
      {error && <p className="failure" role="alert">{error.message}</p>}
      {shown && <Conversation key={shown.id} conversation={shown} names={names} />}
    </div>
  );
}

function Conversation({ conversation, names }) {
  const { id, title } = conversation;
  const { userId } = useRealtime();
  const { data, reload } = useRequest("messages", "get_all", { conversation_id: id, order: "desc", limit: 50 });
  const events = { new_message: reload, message_updated: reload, message_deleted: reload };
  useRoom(`conversation:${id}`, events);
  const present = usePresence(`conversation:${id}`);
  const nameOf = (user) => names.get(user) ?? user;
  const messages = [...(data?.messages ?? [])].reverse();
  return (
    <main className="thread" aria-label={title}>
      <header className="thread-head">
        <div>
          <h2>{title}</h2>
          <p className="quiet" id="presence">
            {present.map(({ user_id, connections }) => (
              <span key={user_id} className="person here" data-connections={connections}>{nameOf(user_id)}</span>
            ))}
          </p>
        </div>
      </header>
      <div className="scroll" role="log" aria-label="Messages">
        <ol id="messages">
          {messages.map(({ id: message, sender_id, content }) => (
            <li key={message} className={sender_id === userId ? "message own" : "message"}>
              <div className="bubble">
                <p className="meta"><strong>{sender_id === userId ? "You" : nameOf(sender_id)}</strong></p>
                <p className="content">{content}</p>
              </div>
            </li>
          ))}
        </ol>
      </div>
      <Composer conversation_id={id} />
    </main>
  );
}

function Composer({ conversation_id }) {
  const client = useRealtime();
  const [problem, setProblem] = useState("");
  const field = useRef(null);
  const send = async (event) => {
    event.preventDefault();
    const content = field.current.value;
    if (content.trim() === "") return;
    field.current.value = "";
    const message = { conversation_id, content, sender_id: client.userId };
    try {
      await client.send("messages", "create", { message }, { retry: true, timeout: 60_000 });
      setProblem("");
    } catch (error) {
      setProblem(`Not sent: ${error.message}`);
      field.current.value ||= content;
    }
  };
  return (
    <form className="composer" onSubmit={send}>
      <label className="unseen" htmlFor="content">Message</label>
      <input id="content" ref={field} placeholder="Write a message" autoComplete="off" />
      <button className="primary">Send</button>
      {problem && <p className="failure" role="alert">{problem}</p>}
    </form>
  );
}
