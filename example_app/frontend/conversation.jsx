/** The conversation that is open: who is there, what was said, and what is being written. */

import { useEffect, useRef } from "react";
import { usePresence } from "quart-realtime/react";

import { Composer } from "./composer.jsx";
import { isNarrow, useMessages, useReading, useTitle, useTyping } from "./hooks.js";
import { Message, PendingMessage } from "./message.jsx";
import { useNotices } from "./notices.jsx";
import { usePending } from "./outbox.js";
import { useNames, usePeople } from "./people.jsx";
import { roomOf } from "./realtime.js";

export function Conversation({ conversation: { id, title, members }, outbox, onBack }) {
  const { me } = usePeople();
  const { attempt } = useNotices();
  const { messages, error, isLoaded, hasEarlier, loadEarlier, add } = useMessages(id);
  const pending = usePending(outbox, id, add);
  const { log, onScroll, goToEnd } = useReading();
  const heading = useRef(null);
  useTitle(`${title} · Chat, in React`);

  useEffect(() => {
    // On a phone the field would bring its keyboard along, before anything was read.
    if (isNarrow()) heading.current.focus();
  }, []);

  const focusLog = () => log.current?.focus({ preventScroll: true });

  async function showEarlier() {
    await attempt(loadEarlier());
    focusLog(); // The button may be gone.
  }

  function send(content) {
    goToEnd();
    outbox.post({ conversation_id: id, content, sender_id: me });
  }

  return (
    <main className="thread" id="thread" aria-labelledby="thread-title">
      <header className="thread-head">
        <button className="back" id="back" aria-label="Back to the conversations" onClick={onBack}>‹</button>
        <div>
          <h2 id="thread-title" tabIndex={-1} ref={heading}>{title}</h2>
          <Presence conversation_id={id} members={members} />
        </div>
      </header>
      <div
        className="scroll"
        id="scroll"
        ref={log}
        onScroll={onScroll}
        tabIndex={0}
        role="log"
        aria-label="Messages"
        aria-busy={!isLoaded && !error}
      >
        {hasEarlier && <button id="older" onClick={showEarlier}>Earlier messages</button>}
        {error && <p className="failure" role="alert">{error.message}</p>}
        <ol id="messages">
          {messages.map((message) => (
            <Message key={message.id} message={message} onDelete={focusLog} />
          ))}
          {pending.map((item) => (
            <PendingMessage
              key={item.key}
              item={item}
              onAgain={() => outbox.again(item)}
              onDiscard={() => outbox.discard(item)}
            />
          ))}
        </ol>
      </div>
      <Typing conversation_id={id} />
      <Composer conversation_id={id} drafts={outbox.drafts} onSend={send} />
    </main>
  );
}

/** All members, and which of them are here: connected, whatever they look at. */
function Presence({ conversation_id, members }) {
  const { nameOf } = usePeople();
  const present = usePresence(roomOf(conversation_id));
  const connections = new Map(present.map((user) => [user.user_id, user.connections]));
  return (
    <p className="quiet" id="presence">
      {members.map((id) => {
        const isHere = connections.has(id);
        return (
          <span
            key={id}
            className={isHere ? "person here" : "person"}
            title={isHere ? "here now" : "away"}
            data-connections={connections.get(id)}
          >
            {nameOf(id)}
            <span className="unseen">{isHere ? " (here now) " : " (away) "}</span>
          </span>
        );
      })}
    </p>
  );
}

function Typing({ conversation_id }) {
  const writers = useTyping(conversation_id);
  const names = useNames();
  return (
    <p className="typing quiet" id="typing" aria-live="polite">
      {writers.length > 0 && `${names(writers)} ${writers.length === 1 ? "is" : "are"} typing…`}
    </p>
  );
}

export function NoConversation() {
  useTitle("Chat, in React");
  return (
    <main className="thread empty" id="thread" aria-labelledby="thread-title">
      <header className="thread-head">
        <h2 id="thread-title">No conversation yet</h2>
      </header>
    </main>
  );
}
