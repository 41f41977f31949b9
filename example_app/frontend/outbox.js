/** What was written and has no answer yet. It lives outside of React, as the client does. */

import { useEffect, useEffectEvent, useSyncExternalStore } from "react";
import { useEvent } from "quart-realtime/react";

import { PATIENTLY } from "./realtime.js";

export class Outbox {
  /** What is being written, by conversation. */
  drafts = new Map();
  #client;
  #items = [];
  #written = 0;
  /** The ids of those whose answer came before their event. */
  #answered = new Set();
  /** The end of what is being sent: one message after the other, or the server might mix them up. */
  #sent = Promise.resolve();
  #watchers = new Set();
  #listeners = new Set();

  constructor(client) {
    this.#client = client;
  }

  /** `{ key, message, problem }` of each, in their order; a new array at each change. */
  items = () => this.#items;

  /** Call `changed()` at each change; returns what ends it. */
  watch = (changed) => {
    this.#watchers.add(changed);
    return () => this.#watchers.delete(changed);
  };

  /** Call `sent(message)` with each that the server has taken; returns what ends it. */
  listen(sent) {
    this.#listeners.add(sent);
    return () => this.#listeners.delete(sent);
  }

  /** Send `message` as soon as that can be done. */
  post(message) {
    const item = { key: ++this.#written, message, problem: null };
    this.#set([...this.#items, item]);
    this.#enqueue(item);
  }

  /** Send what had a problem once more. */
  again(item) {
    this.#tell(item, null);
    this.#enqueue(item);
  }

  /** Take note of an event, which is often here before the answer: what it tells of isn't shown twice. */
  heard({ id, conversation_id, sender_id, content }) {
    if (this.#answered.delete(id)) return;
    const told = this.#items.find(
      ({ message, problem }) =>
        problem === null &&
        message.conversation_id === conversation_id &&
        message.sender_id === sender_id &&
        message.content === content,
    );
    if (told) this.discard(told);
  }

  discard({ key }) {
    this.#set(this.#items.filter((item) => item.key !== key));
  }

  #enqueue(item) {
    this.#sent = this.#sent.then(() => this.#send(item));
  }

  async #send(item) {
    const { message } = item;
    try {
      const { message: created } = await this.#client.send("messages", "create", { message }, PATIENTLY);
      if (this.#items.some(({ key }) => key === item.key)) this.#answered.add(created.id);
      for (const sent of this.#listeners) sent(created);
      this.discard(item);
    } catch (error) {
      this.#tell(item, error.message);
    }
  }

  #tell({ key, message }, problem) {
    const item = { key, message, problem };
    const place = this.#items.findIndex((other) => other.key === key);
    // An event of another window's, with the same text, may have taken it away.
    this.#set(place < 0 ? [...this.#items, item] : this.#items.with(place, item));
  }

  #set(items) {
    this.#items = items;
    for (const changed of this.#watchers) changed();
  }
}

/** What waits in a conversation; `sent(message)` is called with what no longer does. */
export function usePending(outbox, conversation_id, sent) {
  const told = useEffectEvent((message) => message.conversation_id === conversation_id && sent(message));
  useEffect(() => outbox.listen((message) => told(message)), [outbox]);
  useEvent("new_message", (message) => outbox.heard(message));
  const items = useSyncExternalStore(outbox.watch, outbox.items);
  return items.filter(({ message }) => message.conversation_id === conversation_id);
}
