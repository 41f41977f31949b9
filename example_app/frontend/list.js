/** Lists that are asked for once, page by page, and kept by what happens. */

import { useEffect, useEffectEvent, useReducer } from "react";
import { useRealtime, useRequest } from "quart-realtime/react";

import { useNotices } from "./notices.jsx";
import { PATIENTLY, useListen } from "./realtime.js";

/** `cursor` is the next page's: undefined before the first one came, null after the last. */
const NOTHING = { items: new Map(), cursor: undefined, since: [] };

function afterAll(changes, items) {
  const copy = new Map(items);
  for (const change of changes) change(copy);
  return copy;
}

/**
 * What happens while a page is on its way may be in that page or not. So all that has happened
 * `since` the first page was asked for is done to each page again; changes can be made twice.
 */
const STEPS = {
  asked: (state) => ({ ...state, since: [] }),

  changed: ({ items, cursor, since }, { change }) => ({
    items: afterAll([change], items),
    cursor,
    since: [...since, change],
  }),

  came({ items, cursor, since }, { page, after, next, isBackwards }) {
    // Of what was loaded anew meanwhile, this isn't the next page.
    if (after !== null && after !== cursor) return { items, cursor, since };
    const before = after === null ? [] : [...items.values()];
    const both = isBackwards ? [...page.toReversed(), ...before] : [...before, ...page];
    return { items: afterAll(since, both.map((item) => [item.id, item])), cursor: next, since };
  },
};

const step = (state, { type, ...action }) => STEPS[type](state, action);

/**
 * The first page of `resource`, and `more()` of it; with the `order` "desc" that is what is older.
 *
 * `items` is a Map by id, which `change((items) => …)` changes, in place and perhaps more than once.
 */
export function useList(resource, payload) {
  const client = useRealtime();
  const { data, error, reload: ask } = useRequest(resource, "get_all", payload, PATIENTLY);
  const [{ items, cursor }, dispatch] = useReducer(step, NOTHING);

  const take = (answer, after) => {
    const isBackwards = payload.order === "desc";
    dispatch({ type: "came", page: answer[resource], after, next: answer.next_cursor, isBackwards });
  };
  const takeFirst = useEffectEvent(() => take(data, null));
  useEffect(() => {
    if (data) takeFirst();
  }, [data]);

  const reload = () => {
    dispatch({ type: "asked" });
    ask();
  };
  const more = async () =>
    take(await client.send(resource, "get_all", { ...payload, cursor }, PATIENTLY), cursor);
  const change = (how) => dispatch({ type: "changed", change: how });
  return { items, cursor, error, isLoaded: cursor !== undefined, change, reload, more };
}

/** All pages of `resource`. */
export function useWholeList(resource) {
  const { attempt } = useNotices();
  const { cursor, more, ...list } = useList(resource, { limit: 100 });
  const goOn = useEffectEvent(() => attempt(more()));
  useEffect(() => {
    if (cursor) goOn();
  }, [cursor]);
  // Many rooms tell of it, and what was missed in any of them may be about any of its items.
  useListen("recovered", ({ recovered }) => (recovered && !list.error) || list.reload());
  return list;
}
