/** The list of conversations, and starting one. */

import { useState } from "react";

import { Dialog, close } from "./dialog.jsx";
import { useNames, usePeople } from "./people.jsx";

const idOf = (id) => `open-${id}`;

/** The button that opens a conversation. */
export const buttonOf = (id) => document.getElementById(idOf(id));

export function Sidebar({ conversations, activityIn, error, open, onOpen, onStart }) {
  const [isStarting, setStarting] = useState(false);
  return (
    <nav className="sidebar" aria-label="Conversations">
      <div className="sidebar-head">
        <h2>Conversations</h2>
        <button className="primary small" id="new-conversation" onClick={() => setStarting(true)}>New</button>
      </div>
      <ul id="conversations">
        {conversations.map((conversation) => (
          <Item
            key={conversation.id}
            conversation={conversation}
            activity={activityIn(conversation.id)}
            isOpen={conversation.id === open}
            onOpen={onOpen}
          />
        ))}
      </ul>
      {error && <p className="failure" role="alert">{error.message}</p>}
      {isStarting && <NewConversation onStart={onStart} onClose={() => setStarting(false)} />}
    </nav>
  );
}

function Item({ conversation: { id, title, members }, activity: { unread, last }, isOpen, onOpen }) {
  const { me, nameOf } = usePeople();
  const names = useNames();
  const others = names(members.filter((member) => member !== me)) || "Just you";
  const said = last && `${last.sender_id === me ? "You" : nameOf(last.sender_id)}: ${last.content}`;
  return (
    <li>
      <button type="button" id={idOf(id)} aria-current={isOpen || undefined} onClick={() => onOpen(id)}>
        <span className="title">{title}</span>
        <span className="quiet">{said ?? others}</span>
        {unread > 0 && <span className="unread" aria-label={`${unread} unread`}>{unread}</span>}
      </button>
    </li>
  );
}

function NewConversation({ onStart, onClose }) {
  const { me, users } = usePeople();
  const people = [...users.values()].filter(({ id }) => id !== me);

  function submit(event) {
    const chosen = new FormData(event.currentTarget);
    onStart({ title: chosen.get("title"), members: chosen.getAll("member") });
  }

  return (
    <Dialog id="new-dialog" aria-labelledby="new-title" onClose={onClose}>
      <form method="dialog" id="new-form" onSubmit={submit}>
        <h2 id="new-title">New conversation</h2>
        <label>Title <input name="title" maxLength={200} required /></label>
        <fieldset>
          <legend>With</legend>
          <div id="people">
            {people.map(({ id, name }) => (
              <label key={id} className="check">
                <input type="checkbox" name="member" value={id} />
                {name}
              </label>
            ))}
          </div>
        </fieldset>
        <div className="buttons">
          <button type="button" onClick={close}>Cancel</button>
          <button className="primary" value="create">Start</button>
        </div>
      </form>
    </Dialog>
  );
}
