/** Showing on the page what is known of the chat. */

import { $, el } from "./dom.js";
import { nameOf, others, state } from "./state.js";

/** What the page calls back: `onopen(conversationId)` when somebody picks a conversation. */
export const view = { onopen: () => {} };

export function showLogin(reason = "") {
  document.body.dataset.screen = "login";
  $("login-failure").textContent = reason;
  $("login-form").elements.username.focus();
}

export function showConnection(connection) {
  $("connection").dataset.state = connection;
  $("connection").textContent = {
    connecting: "Connecting…",
    connected: "Connected",
    waiting: "Offline, trying again…",
    disconnected: "Disconnected",
  }[connection];
}

const list = new Intl.ListFormat("en");
export const isNarrow = () => matchMedia("(max-width: 44rem)").matches;

export function showConversations() {
  const items = [...state.conversations.values()].map((conversation) => {
    const { id, title, unread } = conversation;
    const button = el(
      "button",
      { type: "button" },
      el("span", { className: "title" }, title),
      el("span", { className: "quiet" }, list.format(others(conversation).map(nameOf)) || "Just you"),
      unread > 0 ? el("span", { className: "unread", "aria-label": `${unread} unread` }, `${unread}`) : null,
    );
    if (id === state.open) button.setAttribute("aria-current", "true");
    button.addEventListener("click", () => view.onopen(id));
    return el("li", {}, button);
  });
  const focused = [...$("conversations").children].findIndex((item) => item.contains(document.activeElement));
  $("conversations").replaceChildren(...items);
  items[focused]?.firstChild.focus();
  showThread();
}

export function showThread() {
  const conversation = state.conversations.get(state.open);
  if (!conversation) return;
  $("thread").classList.remove("empty");
  $("thread-title").textContent = conversation.title;
  document.title = `${conversation.title} · Chat`;
  const present = state.present.get(conversation.id) ?? new Set();
  const people = others(conversation).map((id) => {
    const here = present.has(id);
    return el(
      "span",
      { className: here ? "person here" : "person", title: here ? "here now" : "away" },
      nameOf(id),
      el("span", { className: "unseen" }, here ? " (here now) " : " (away) "),
    );
  });
  $("presence").replaceChildren(...(people.length > 0 ? people : ["Just you"]));
}

export function showNoConversation() {
  state.open = null;
  $("chat").dataset.showing = "list";
  $("thread").classList.add("empty");
  $("thread-title").textContent = "No conversation yet";
  $("presence").replaceChildren();
  $("messages").replaceChildren();
  $("older").hidden = true;
  document.title = "Chat";
}

export function showTyping() {
  const names = [...state.typing.keys()].map(nameOf);
  $("typing").textContent = names.length === 0 ? "" : `${list.format(names)} ${names.length === 1 ? "is" : "are"} typing…`;
}

export function isAtBottom() {
  const { scrollTop, scrollHeight, clientHeight } = $("scroll");
  return scrollHeight - scrollTop - clientHeight < 80;
}

export function scrollDown() {
  $("scroll").scrollTop = $("scroll").scrollHeight;
}

let noticeTimer;

/** Tell the user something for a while. */
export function notify(text) {
  $("notice").textContent = text;
  $("notice").hidden = false;
  clearTimeout(noticeTimer);
  noticeTimer = setTimeout(() => ($("notice").hidden = true), 6_000);
}

/** Wait for `work`; a promise of whether it succeeded. A failure is told to the user. */
export async function attempt(work) {
  try {
    await work;
    return true;
  } catch (error) {
    notify(error.message);
    return false;
  }
}
