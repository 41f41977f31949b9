/** The frame: who is logged in, their conversations, and the one that is open. */

import { useEffect, useEffectEvent, useState } from "react";
import { flushSync } from "react-dom";
import { useConnectionState, useRealtime } from "quart-realtime/react";

import icon from "../static/icon.svg";
import { Conversation, NoConversation } from "./conversation.jsx";
import { isNarrow, useActivity, useConversations } from "./hooks.js";
import { useNotices } from "./notices.jsx";
import { Outbox } from "./outbox.js";
import { usePeople } from "./people.jsx";
import { isOwnRoom, useListen } from "./realtime.js";
import { Sidebar, buttonOf } from "./sidebar.jsx";

const STATES = {
  connecting: "Connecting…",
  connected: "Connected",
  waiting: "Offline, trying again…",
  disconnected: "Disconnected",
};

/** `onEnd(reason)` is called when the session is over; the reason is empty where the user wished it. */
export function Chat({ onEnd }) {
  const client = useRealtime();
  const connection = useConnectionState();
  const { me, nameOf } = usePeople();
  const { notify, attempt } = useNotices();
  const [outbox] = useState(() => new Outbox(client));
  const [open, setOpen] = useState(null);
  const { conversations, isLoaded, error, keep } = useConversations();
  const { activityIn, see } = useActivity(open);
  const conversation = conversations.get(open);

  useListen("disconnect", ({ reason, reconnecting }) => {
    if (!reconnecting) onEnd(reason || "You were logged out.");
  });

  // After a time offline, what was missed has come by now, or must be asked for; the lists do so.
  useListen("recovered", ({ room, recovered }) => {
    if (!isOwnRoom(room)) return;
    // What couldn't be loaded after an earlier return is still missing.
    notify(recovered && !error ? "Back online. Nothing was missed." : "Back online. Loading what was missed…");
  });

  function show(id) {
    setOpen(id);
    see(id);
  }

  const showFirst = useEffectEvent(() => {
    const [first] = conversations.keys();
    if (first !== undefined && open === null && !isNarrow()) show(first);
  });
  useEffect(() => {
    if (isLoaded) showFirst();
  }, [isLoaded]);

  function goBack() {
    // What is to have the focus can't have it before it is seen.
    flushSync(() => setOpen(null));
    buttonOf(open)?.focus();
  }

  async function create(conversation) {
    const answer = await client.send("conversations", "create", { conversation });
    keep(answer.conversation);
    show(answer.conversation.id);
  }

  return (
    <div className="chat" id="chat" data-showing={conversation ? "thread" : "list"}>
      <header className="top">
        <img src={icon} alt="" width="28" height="28" />
        <h1>Chat, in React</h1>
        <p className="connection" id="connection" role="status" data-state={connection}>
          {STATES[connection]}
        </p>
        <p className="me" id="me">{me && nameOf(me)}</p>
        <button id="logout" onClick={() => onEnd("")}>Log out</button>
      </header>
      <Sidebar
        conversations={[...conversations.values()]}
        activityIn={activityIn}
        error={error}
        open={open}
        onOpen={show}
        onStart={(conversation) => attempt(create(conversation))}
      />
      {conversation ? (
        <Conversation key={open} conversation={conversation} outbox={outbox} onBack={goBack} />
      ) : (
        <NoConversation />
      )}
    </div>
  );
}
