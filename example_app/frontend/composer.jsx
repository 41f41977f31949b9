import { useRef } from "react";
import { useRealtime } from "quart-realtime/react";

import { isNarrow } from "./hooks.js";

const TYPING_EVERY = 2_000;
export const MOST_CHARACTERS = 4_000;

/** Enter sends, Shift and Enter begins a new line; not while a word is being composed. */
export function submitOnEnter(event) {
  if (event.key !== "Enter" || event.shiftKey || event.nativeEvent.isComposing) return;
  event.preventDefault();
  event.currentTarget.form.requestSubmit();
}

/** `drafts`, a Map by conversation, keeps what is being written while another one is open. */
export function Composer({ conversation_id, drafts, onSend }) {
  const client = useRealtime();
  const toldAt = useRef(-Infinity);

  function write(event) {
    drafts.set(conversation_id, event.target.value);
    // Who comes back would tell it too late.
    if (client.state !== "connected" || Date.now() - toldAt.current < TYPING_EVERY) return;
    toldAt.current = Date.now();
    client.send("conversations", "typing", { conversation_id }).catch(() => {}); // The next may do better.
  }

  function submit(event) {
    event.preventDefault();
    const { content } = event.currentTarget.elements;
    if (content.value.trim() === "") return;
    onSend(content.value);
    content.value = "";
    drafts.delete(conversation_id);
    toldAt.current = -Infinity;
  }

  return (
    <form className="composer" id="composer" onSubmit={submit}>
      <label className="unseen" htmlFor="content">Message</label>
      <textarea
        id="content"
        rows={1}
        maxLength={MOST_CHARACTERS}
        placeholder="Write a message"
        required
        autoFocus={!isNarrow()}
        defaultValue={drafts.get(conversation_id)}
        onChange={write}
        onKeyDown={submitOnEnter}
      />
      <button className="primary">Send</button>
    </form>
  );
}
