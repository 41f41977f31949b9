/** What this window knows of the chat. Only chat.js changes it; view.js shows it. */

export const state = {};

export function forgetEverything() {
  Object.assign(state, {
    me: null, // user id
    loaded: false,
    users: new Map(), // id → name
    conversations: new Map(), // id → { id, title, members, unread }
    present: new Map(), // conversation id → ids of those who are there
    typing: new Map(), // user id → timer, in the conversation that is open
    open: null, // conversation id
    room: null, // its room, as long as it is open
    reloads: new Set(), // of lists: what has happened since the messages were asked for
    stale: new Set(), // rooms of which something was missed and couldn't be loaded yet
    pending: new Map(), // list item → message that is on its way
    older: null, // cursor of the page before the oldest message shown
  });
}

export const nameOf = (id) => state.users.get(id) ?? id;
export const others = (conversation) => conversation.members.filter((id) => id !== state.me);
