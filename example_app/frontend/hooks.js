/** The app's own hooks, on those of the package. */

import { useEffect, useLayoutEffect, useRef, useState } from "react";
import { useEvent, useRoom } from "quart-realtime/react";

import { useList, useWholeList } from "./list.js";
import { usePeople } from "./people.jsx";
import { inRoom, roomOf } from "./realtime.js";

const PAGE = 50;
const timeOf = ({ timestamp }) => Date.parse(timestamp);
const TYPING_SHOWN = 4_000;

export const isNarrow = () => matchMedia("(max-width: 44rem)").matches;

export function useTitle(title) {
  useEffect(() => {
    document.title = title;
  }, [title]);
}

/** The conversations that we are in, a Map by id, and `keep(conversation)` for one just made. */
export function useConversations() {
  const { me } = usePeople();
  const { items: conversations, isLoaded, error, change } = useWholeList("conversations");
  const keep = (conversation) => change((known) => known.set(conversation.id, conversation));
  const forget = (id) => change((known) => known.delete(id));
  const removeMember = (id, user_id) =>
    change((known) => {
      const conversation = known.get(id);
      if (!conversation) return;
      const members = conversation.members.filter((member) => member !== user_id);
      known.set(id, { ...conversation, members });
    });

  useEvent("conversation_created", keep);
  useEvent("conversation_updated", keep);
  useEvent("conversation_deleted", ({ conversation_id }) => forget(conversation_id));
  useEvent("member_added", ({ conversation }) => keep(conversation));
  useEvent("member_removed", ({ conversation_id, user_id }) =>
    user_id === me ? forget(conversation_id) : removeMember(conversation_id, user_id),
  );
  useEvent("room_left", ({ room }) => forget(inRoom(room)));
  return { conversations, isLoaded, error, keep };
}

const QUIET = { unread: 0, last: null };

/**
 * What was said since we came, by conversation: how many messages nobody has seen here, and the
 * last one. The server puts us into all our conversations' rooms, so that all are heard of.
 */
export function useActivity(open) {
  const { me } = usePeople();
  const [activity, setActivity] = useState(() => new Map());
  const note = (id, change) =>
    setActivity((known) => {
      const before = known.get(id) ?? QUIET;
      return new Map(known).set(id, { ...before, ...change(before) });
    });

  useEvent("new_message", (message) => {
    const isSeen = message.conversation_id === open || message.sender_id === me;
    note(message.conversation_id, ({ unread }) => ({ last: message, unread: isSeen ? unread : unread + 1 }));
  });
  const replaceLast = (id, isMeant, last) =>
    note(id, (before) => (before.last && isMeant(before.last) ? { last } : {}));
  useEvent("message_updated", (message) =>
    replaceLast(message.conversation_id, ({ id }) => id === message.id, message),
  );
  useEvent("message_deleted", ({ conversation_id, message_id }) =>
    replaceLast(conversation_id, ({ id }) => id === message_id, null),
  );
  useEvent("member_removed", ({ conversation_id, user_id }) =>
    replaceLast(conversation_id, ({ sender_id }) => sender_id === user_id, null),
  );
  return {
    activityIn: (id) => activity.get(id) ?? QUIET,
    see: (id) => note(id, () => ({ unread: 0 })),
  };
}

/** The messages of a conversation, the oldest first; at first the newest page of them. */
export function useMessages(conversation_id) {
  const asked = { conversation_id, order: "desc", limit: PAGE };
  const { items, cursor, error, isLoaded, change, reload, more } = useList("messages", asked);
  // The event and the answer both tell of an own one, in either order.
  const add = (message) => change((known) => known.has(message.id) || known.set(message.id, message));

  const events = {
    new_message: add,
    message_updated: (message) => change((known) => known.has(message.id) && known.set(message.id, message)),
    message_deleted: ({ message_id }) => change((known) => known.delete(message_id)),
    member_removed: reload, // Where an account was deleted, its messages are gone too.
  };
  const onRecovered = (recovered) => (recovered && !error) || reload();
  const { error: refusal } = useRoom(roomOf(conversation_id), events, { onRecovered });

  // After a return, the answer to an own one may come before what was missed.
  const messages = [...items.values()].sort((one, other) => timeOf(one) - timeOf(other));
  return {
    messages,
    error: refusal ?? error,
    isLoaded,
    hasEarlier: Boolean(cursor),
    loadEarlier: more,
    add,
  };
}

/** The ids of those who are writing in a conversation, other than ourselves. */
export function useTyping(conversation_id) {
  const { me } = usePeople();
  const [writers, setWriters] = useState([]);
  const timers = useRef(new Map());
  useEffect(() => {
    const running = timers.current;
    return () => running.forEach((timer) => clearTimeout(timer));
  }, []);

  const note = (user_id, timer) => {
    clearTimeout(timers.current.get(user_id));
    timers.current.delete(user_id);
    if (timer) timers.current.set(user_id, timer);
    setWriters([...timers.current.keys()]);
  };
  useRoom(roomOf(conversation_id), {
    typing: ({ user_id }) => user_id !== me && note(user_id, setTimeout(note, TYPING_SHOWN, user_id)),
    new_message: ({ sender_id }) => note(sender_id),
  });
  return writers;
}

/** How near to its end a log is taken to be read there, in pixels. */
const NEAR = 80;

/**
 * Keep the reader of a log where they are: at its end while it grows there, at what they read
 * while it grows before that.
 */
export function useReading() {
  const log = useRef(null);
  const place = useRef({ isAtEnd: true, first: null, top: 0 });
  useLayoutEffect(() => {
    const topOf = (item) => (item ? item.offsetTop - log.current.offsetTop : 0);
    const { isAtEnd, first, top } = place.current;
    if (isAtEnd) log.current.scrollTop = log.current.scrollHeight;
    else if (first?.isConnected) log.current.scrollTop += topOf(first) - top;
    const now = log.current.querySelector("li");
    place.current = { isAtEnd, first: now, top: topOf(now) };
  });
  const onScroll = () => {
    const { scrollTop, scrollHeight, clientHeight } = log.current;
    place.current.isAtEnd = scrollHeight - scrollTop - clientHeight < NEAR;
  };
  const goToEnd = () => {
    place.current.isAtEnd = true;
  };
  return { log, onScroll, goToEnd };
}
