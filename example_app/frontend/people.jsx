/** Who there is, and which of them looks at this page. */

import { createContext, useContext } from "react";
import { useConnectionState, useEvent, useRealtime } from "quart-realtime/react";

import { useWholeList } from "./list.js";

const People = createContext(null);

/** `me`, an id, null before the first connection; `users`, a Map by id; and `nameOf(id)`. */
export const usePeople = () => useContext(People);

export function PeopleProvider({ children }) {
  useConnectionState(); // The client knows who we are from the moment on that it is connected.
  const me = useRealtime().userId;
  const { items: users, change } = useWholeList("users");
  useEvent("user_updated", (user) => change((known) => known.set(user.id, user)));
  const nameOf = (id) => users.get(id)?.name ?? id;
  return <People value={{ me, users, nameOf }}>{children}</People>;
}

const list = new Intl.ListFormat("en");

/** "Ana, Luis, and Eva" */
export function useNames() {
  const { nameOf } = usePeople();
  return (ids) => list.format(ids.map(nameOf));
}

/** One of six hues, always the same for the same person. */
export function hue(id) {
  let sum = 0;
  for (const character of id) sum = (sum * 29 + character.codePointAt(0)) % 9973;
  return String(sum % 6);
}

export function Avatar({ id }) {
  const { nameOf } = usePeople();
  const [initial] = nameOf(id);
  return <span className="avatar" data-hue={hue(id)} aria-hidden="true">{initial}</span>;
}
