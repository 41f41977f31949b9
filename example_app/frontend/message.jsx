/** One message, and what its author can do with it. */

import { useRef, useState } from "react";
import { flushSync } from "react-dom";
import { useRealtime } from "quart-realtime/react";

import { MOST_CHARACTERS, submitOnEnter } from "./composer.jsx";
import { Dialog, close } from "./dialog.jsx";
import { useNotices } from "./notices.jsx";
import { Avatar, hue, usePeople } from "./people.jsx";

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const day = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });

function When({ timestamp }) {
  const date = new Date(timestamp);
  const isToday = date.toDateString() === new Date().toDateString();
  return (
    <time dateTime={timestamp} title={date.toLocaleString()}>
      {isToday ? clock.format(date) : `${day.format(date)}, ${clock.format(date)}`}
    </time>
  );
}

/** `onDelete()` is called when it is gone, with all that could have had the focus in it. */
export function Message({ message, onDelete }) {
  const { id, sender_id, timestamp, content } = message;
  const { me, nameOf } = usePeople();
  const [isEdited, setEdited] = useState(false);
  const editButton = useRef(null);
  const isOwn = sender_id === me;

  function finish() {
    // The button is hidden while its message is edited.
    flushSync(() => setEdited(false));
    editButton.current?.focus();
  }

  return (
    <li
      className={["message", isOwn && "own", isEdited && "edited"].filter(Boolean).join(" ")}
      id={id}
      data-hue={hue(sender_id)}
    >
      <Avatar id={sender_id} />
      <div className="bubble">
        <p className="meta">
          <strong>{isOwn ? "You" : nameOf(sender_id)}</strong> <When timestamp={timestamp} />
        </p>
        {isEdited ? <Editor message={message} onClose={finish} /> : <p className="content">{content}</p>}
      </div>
      {isOwn && (
        <Actions
          message={message}
          editButton={editButton}
          onEdit={() => setEdited(true)}
          onDelete={onDelete}
        />
      )}
    </li>
  );
}

function Actions({ message: { id, content }, editButton, onEdit, onDelete }) {
  const client = useRealtime();
  const { attempt } = useNotices();
  const [isAsking, setAsking] = useState(false);
  const about = content.slice(0, 40);

  async function answered(answer) {
    setAsking(false);
    if (answer !== "delete") return;
    if (await attempt(client.send("messages", "delete", { message_id: id }))) onDelete();
  }

  return (
    <>
      <div className="actions">
        <button type="button" ref={editButton} aria-label={`Edit: ${about}`} onClick={onEdit}>Edit</button>
        <button type="button" aria-label={`Delete: ${about}`} onClick={() => setAsking(true)}>Delete</button>
      </div>
      {isAsking && <DeleteDialog content={content} onClose={answered} />}
    </>
  );
}

function DeleteDialog({ content, onClose }) {
  return (
    <Dialog
      id="delete-dialog"
      aria-labelledby="delete-title"
      aria-describedby="delete-text"
      onClose={onClose}
    >
      <form method="dialog">
        <h2 id="delete-title">Delete this message?</h2>
        <blockquote id="delete-text">{content}</blockquote>
        <div className="buttons">
          <button type="button" onClick={close}>Keep it</button>
          <button className="danger" value="delete">Delete</button>
        </div>
      </form>
    </Dialog>
  );
}

function Editor({ message: { id, content }, onClose }) {
  const client = useRealtime();
  const { attempt } = useNotices();

  async function save(event) {
    event.preventDefault();
    const changed = event.currentTarget.elements.content.value;
    if (changed.trim() === "") return;
    const change = { message_id: id, message: { content: changed } };
    if (changed === content || (await attempt(client.send("messages", "update", change)))) onClose();
  }

  return (
    <form className="editing" onSubmit={save} onKeyDown={(event) => event.key === "Escape" && onClose()}>
      <textarea
        name="content"
        aria-label="Edit your message"
        maxLength={MOST_CHARACTERS}
        autoFocus
        defaultValue={content}
        onKeyDown={submitOnEnter}
      />
      <div className="buttons">
        <button type="button" className="cancel" onClick={onClose}>Cancel</button>
        <button className="primary small">Save</button>
      </div>
    </form>
  );
}

/** A message on its way, or with the problem that it has there. */
export function PendingMessage({ item: { message, problem }, onAgain, onDiscard }) {
  return (
    <li className={problem === null ? "message own pending" : "message own pending failed"}>
      <div className="bubble">
        <p className="meta" role="status">{problem === null ? "Sending…" : `Not sent: ${problem}`}</p>
        <p className="content">{message.content}</p>
      </div>
      {problem !== null && (
        <div className="actions">
          <button type="button" onClick={onAgain}>Send again</button>
          <button type="button" onClick={onDiscard}>Discard</button>
        </div>
      )}
    </li>
  );
}
