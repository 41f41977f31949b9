/** The page: how what is known of the chat is kept up to date, and what the user does. */

import { $, ask, el } from "./dom.js";
import { createWebSocketClient } from "../ws/client/index.js";
import { messageItem, pendingItem, submitOnEnter, timeOf } from "./messages.js";
import { getToken, isLoggedIn, logIn, logOut } from "./session.js";
import { forgetEverything, nameOf, state } from "./state.js";
import {
  attempt,
  isAtBottom,
  isNarrow,
  notify,
  scrollDown,
  showConnection,
  showConversations,
  showLogin,
  showNoConversation,
  showThread,
  showTyping,
  view,
} from "./view.js";

const TYPING_EVERY = 2_000;
const TYPING_SHOWN = 4_000;
const PAGE = 50;
/** Through a lost connection, once, for as many milliseconds. */
const PATIENTLY = { retry: true, timeout: 60_000 };

let client = null;

const inRoom = (room) => room.slice("conversation:".length);

// Logging in and out

async function comeIn(username, password) {
  try {
    await logIn(username, password);
  } catch (error) {
    $("login-failure").textContent = error.message;
    return;
  }
  $("login-form").reset();
  start();
}

$("login-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const { username, password } = event.target.elements;
  comeIn(username.value, password.value);
});

for (const button of document.querySelectorAll("[data-demo]")) {
  button.addEventListener("click", () => comeIn(button.dataset.demo, button.dataset.demo));
}

$("logout").addEventListener("click", () => {
  logOut();
  client.disconnect();
  showLogin();
});

function start() {
  if (client !== null) client.onDisconnect = null;
  client?.disconnect(); // Somebody else may have come in meanwhile.
  forgetEverything();
  $("conversations").replaceChildren();
  showNoConversation();
  document.body.dataset.screen = "chat";
  $("login-failure").textContent = "";
  client = createWebSocketClient(getToken);
  client.onStateChange = showConnection;
  client.onConnect = greeted;
  client.onDisconnect = ({ reason, reconnecting }) => {
    if (reconnecting || !isLoggedIn()) return;
    logOut();
    showLogin(reason || "You were logged out.");
  };
  client.onRecovered = returned;
  for (const [event, handler] of Object.entries(events)) client.on(event, handler);
  client.connect();
}

function greeted({ user_id }) {
  state.me = user_id;
  $("me").textContent = nameOf(state.me);
  if (!state.loaded) attempt(load());
}

/** After a time offline, events that were missed have come by now, or must be asked for. */
function returned({ room, recovered }) {
  const isComplete = recovered && !state.stale.has(room);
  if (room.startsWith("user:")) {
    notify(isComplete ? "Back online. Nothing was missed." : "Back online. Loading what was missed…");
  }
  if (!isComplete) catchUp(room);
}

/** Load what was missed in `room`; where that fails, after the next return. */
async function catchUp(room) {
  state.stale.delete(room);
  const work = room.startsWith("user:") ? load() : reload(inRoom(room));
  if (!(await attempt(work))) state.stale.add(room);
}

// What there is to show

async function everything(resource) {
  const items = [];
  let cursor = null;
  do {
    const page = await client.send(resource, "get_all", { cursor, limit: 100 }, PATIENTLY);
    items.push(...page[resource]);
    cursor = page.next_cursor;
  } while (cursor !== null);
  return items;
}

async function load() {
  for (const { id, name } of await everything("users")) state.users.set(id, name);
  $("me").textContent = nameOf(state.me);
  const conversations = await everything("conversations");
  for (const id of state.conversations.keys()) {
    if (!conversations.some((conversation) => conversation.id === id)) forgetConversation(id);
  }
  conversations.forEach(keepConversation);
  state.loaded = true;
  const [first] = state.conversations.keys();
  if (state.open === null && first !== undefined && !isNarrow()) await openConversation(first);
}

function keepConversation(conversation) {
  const unread = state.conversations.get(conversation.id)?.unread ?? 0;
  state.conversations.set(conversation.id, { ...conversation, unread });
  showConversations();
}

function forgetConversation(id) {
  if (!state.conversations.delete(id)) return;
  showConversations();
  if (state.open === id) showNoConversation();
}

async function openConversation(id) {
  state.open = id;
  state.conversations.get(id).unread = 0;
  $("chat").dataset.showing = "thread";
  showConversations();
  showThread();
  forgetTyping();
  $("messages").replaceChildren();
  $("content").focus();
  await reload(id);
  if (state.open === id) followPresence(id);
}

/** We are in the room already, but who else is? */
function followPresence(id) {
  state.room?.unsubscribe();
  const room = client.subscribe(`conversation:${id}`);
  const show = () => {
    state.present.set(id, new Set(room.presence.map((user) => user.user_id)));
    showThread();
  };
  state.room = room;
  room.onPresence = show;
  room.ready.then(show, () => {});
}

async function reload(id) {
  if (state.open !== id) return;
  const meanwhile = [];
  state.reloads.add(meanwhile);
  try {
    const page = await messagesOf(id);
    if (state.open !== id) return;
    const pending = [...state.pending].filter(([, message]) => message.conversation_id === id);
    $("messages").replaceChildren(...page.reverse().map(itemOf), ...pending.map(([item]) => item));
    for (const apply of meanwhile) apply();
    scrollDown();
  } finally {
    state.reloads.delete(meanwhile);
  }
}

/** Change the messages shown, and again what is just being loaded, which may not have it yet. */
function change(apply) {
  apply();
  for (const meanwhile of state.reloads) meanwhile.push(apply);
}

function showNew(message) {
  if (message.conversation_id !== state.open || $(message.id) !== null) return;
  const follow = isAtBottom() || message.sender_id === state.me;
  // After a return, the answer to an own one may come before what was missed.
  const later = [...$("messages").children].find((item) => timeOf(item) > new Date(message.timestamp));
  $("messages").insertBefore(itemOf(message), later ?? null);
  if (follow) scrollDown();
}

async function messagesOf(conversation_id, cursor = null) {
  const wanted = { conversation_id, order: "desc", limit: PAGE, cursor };
  const page = await client.send("messages", "get_all", wanted, PATIENTLY);
  if (state.open === conversation_id) {
    state.older = page.next_cursor;
    $("older").hidden = state.older === null;
  }
  return page.messages;
}

// What happens

const events = {
  new_message(message) {
    forgetTyping(message.sender_id);
    heard(message);
    change(() => showNew(message));
    const conversation = state.conversations.get(message.conversation_id);
    if (!conversation || message.conversation_id === state.open || message.sender_id === state.me) return;
    conversation.unread += 1;
    showConversations();
  },
  message_updated(message) {
    change(() => $(message.id)?.replaceWith(itemOf(message)));
  },
  message_deleted({ message_id }) {
    change(() => $(message_id)?.remove());
  },
  conversation_created: keepConversation,
  conversation_updated: keepConversation,
  conversation_deleted({ conversation_id }) {
    forgetConversation(conversation_id);
  },
  member_added({ conversation }) {
    keepConversation(conversation);
  },
  member_removed({ conversation_id, user_id }) {
    const conversation = state.conversations.get(conversation_id);
    if (user_id === state.me) return forgetConversation(conversation_id);
    if (!conversation) return;
    conversation.members = conversation.members.filter((id) => id !== user_id);
    showConversations();
    attempt(reload(conversation_id)); // Where an account was deleted, its messages are gone too.
  },
  user_updated({ id, name }) {
    state.users.set(id, name);
    $("me").textContent = nameOf(state.me);
    showConversations();
    if (state.open) attempt(reload(state.open));
  },
  room_left({ room }) {
    if (room.startsWith("conversation:")) forgetConversation(inRoom(room));
  },
  typing({ conversation_id, user_id }) {
    if (conversation_id !== state.open || user_id === state.me) return;
    clearTimeout(state.typing.get(user_id));
    state.typing.set(user_id, setTimeout(() => forgetTyping(user_id), TYPING_SHOWN));
    showTyping();
  },
};

function forgetTyping(user_id) {
  for (const [id, timer] of state.typing) {
    if (user_id !== undefined && id !== user_id) continue;
    clearTimeout(timer);
    state.typing.delete(id);
  }
  showTyping();
}

function itemOf(message) {
  const { id: message_id, sender_id } = message;
  return messageItem(message, {
    name: nameOf(sender_id),
    own: sender_id === state.me,
    edit: (content) => attempt(client.send("messages", "update", { message_id, message: { content } })),
    remove: () => attempt(client.send("messages", "delete", { message_id })),
  });
}

// What the user does

let lastTyping = 0;

$("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  const content = $("content").value;
  if (state.open === null || content.trim() === "") return;
  $("content").value = "";
  lastTyping = 0;
  post({ conversation_id: state.open, content, sender_id: state.me });
});

/** The end of what is being sent: one message after the other, or the server might mix them up. */
let sent = Promise.resolve();

/** Show `message` at once, and send it as soon as that can be done. */
function post(message) {
  const own = client; // Whoever logs in next doesn't say it.
  const { item, fail } = pendingItem(message, { again: () => enqueue(), discard: () => finish() });
  const finish = () => discard(item);
  const show = () => {
    state.pending.set(item, message);
    if (state.open === message.conversation_id) $("messages").append(item);
  };
  async function send() {
    try {
      const { message: created } = await own.send("messages", "create", { message }, PATIENTLY);
      finish();
      change(() => showNew(created));
    } catch (error) {
      if (own !== client) return;
      // An event of another window's, with the same text, may have taken it away.
      if (!state.pending.has(item)) show();
      fail(error.message);
    }
  }
  const enqueue = () => {
    sent = sent.then(send);
  };
  show();
  scrollDown();
  enqueue();
}

function discard(item) {
  state.pending.delete(item);
  item.remove();
}

/** Take note of an event, which is often here before the answer: what it tells of isn't shown twice. */
function heard({ id, conversation_id, sender_id, content }) {
  if (sender_id !== state.me || $(id) !== null) return;
  const told = [...state.pending].find(
    ([item, message]) =>
      !item.classList.contains("failed") &&
      message.conversation_id === conversation_id &&
      message.content === content,
  );
  if (told) discard(told[0]);
}

$("content").addEventListener("input", () => {
  if (state.open === null || Date.now() - lastTyping < TYPING_EVERY) return;
  lastTyping = Date.now();
  client.send("conversations", "typing", { conversation_id: state.open }).catch(() => {});
});

submitOnEnter($("content"), $("composer"));

$("older").addEventListener("click", async () => {
  const id = state.open;
  const height = $("scroll").scrollHeight;
  $("older").disabled = true;
  await attempt(
    messagesOf(id, state.older).then((messages) => {
      if (state.open !== id) return;
      // They may have come with a reload meanwhile.
      $("messages").prepend(...messages.reverse().filter(({ id }) => $(id) === null).map(itemOf));
      $("scroll").scrollTop += $("scroll").scrollHeight - height;
    }),
  );
  $("older").disabled = false;
});

$("back").addEventListener("click", () => {
  $("chat").dataset.showing = "list";
  state.open = null;
  showConversations();
  $("conversations").querySelector("button")?.focus();
});

$("new-conversation").addEventListener("click", async () => {
  const form = $("new-form");
  form.reset();
  const people = [...state.users].filter(([id]) => id !== state.me);
  $("people").replaceChildren(
    ...people.map(([id, name]) =>
      el("label", { className: "check" }, el("input", { type: "checkbox", name: "member", value: id }), name),
    ),
  );
  if ((await ask($("new-dialog"))) !== "create") return;
  const chosen = new FormData(form);
  const conversation = { title: chosen.get("title"), members: chosen.getAll("member") };
  await attempt(
    client.send("conversations", "create", { conversation }).then(({ conversation: created }) => {
      keepConversation(created);
      return openConversation(created.id);
    }),
  );
});

view.onopen = (id) => attempt(openConversation(id));

if (isLoggedIn()) start();
else showLogin();
