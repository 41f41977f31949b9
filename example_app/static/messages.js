/** One message on the page, and what its author can do with it. */

import { $, ask, avatar, el, hue } from "./dom.js";

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const day = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });

function when(timestamp) {
  const date = new Date(timestamp);
  const today = date.toDateString() === new Date().toDateString();
  return el(
    "time",
    { dateTime: timestamp, title: date.toLocaleString() },
    today ? clock.format(date) : `${day.format(date)}, ${clock.format(date)}`,
  );
}

/** When what a list item shows was said; NaN of one on its way. */
export const timeOf = (item) => Date.parse(item.querySelector("time")?.dateTime);

/** Make the list item of `message`; `edit(content)` and `remove()` do what the buttons say. */
export function messageItem(message, { name, own, edit, remove }) {
  const text = el("p", { className: "content" }, message.content);
  const item = el(
    "li",
    { className: own ? "message own" : "message", id: message.id, "data-hue": hue(message.sender_id) },
    avatar(message.sender_id, name),
    el(
      "div",
      { className: "bubble" },
      el("p", { className: "meta" }, el("strong", {}, own ? "You" : name), " ", when(message.timestamp)),
      text,
    ),
  );
  if (own) item.append(actions(item, message, { edit, remove }));
  return item;
}

/** Make the list item of a message on its way; `again()` and `discard()` do what the buttons say. */
export function pendingItem(message, { again, discard }) {
  const status = el("p", { className: "meta", role: "status" }, "Sending…");
  const item = el(
    "li",
    { className: "message own pending" },
    el("div", { className: "bubble" }, status, el("p", { className: "content" }, message.content)),
  );
  const retryButton = el("button", { type: "button" }, "Send again");
  const discardButton = el("button", { type: "button" }, "Discard");
  const buttons = el("div", { className: "actions", hidden: true }, retryButton, discardButton);
  item.append(buttons);
  const show = (text, failed) => {
    status.textContent = text;
    item.classList.toggle("failed", failed);
    buttons.hidden = !failed;
  };
  retryButton.addEventListener("click", () => {
    show("Sending…", false);
    again();
  });
  discardButton.addEventListener("click", discard);
  return { item, fail: (reason) => show(`Not sent: ${reason}`, true) };
}

function actions(item, message, { edit, remove }) {
  const about = message.content.slice(0, 40);
  const editButton = el("button", { type: "button", "aria-label": `Edit: ${about}` }, "Edit");
  const deleteButton = el("button", { type: "button", "aria-label": `Delete: ${about}` }, "Delete");
  editButton.addEventListener("click", () => startEditing(item, message, edit, editButton));
  deleteButton.addEventListener("click", async () => {
    $("delete-text").textContent = message.content;
    if ((await ask($("delete-dialog"))) === "delete") remove();
  });
  return el("div", { className: "actions" }, editButton, deleteButton);
}

function startEditing(item, message, edit, button) {
  const text = item.querySelector(".content");
  const field = el("textarea", { value: message.content, maxLength: 4000, "aria-label": "Edit your message" });
  const form = el(
    "form",
    { className: "editing" },
    field,
    el(
      "div",
      { className: "buttons" },
      el("button", { type: "button", className: "cancel" }, "Cancel"),
      el("button", { className: "primary small" }, "Save"),
    ),
  );
  const finish = () => {
    form.replaceWith(text);
    item.classList.remove("edited");
    button.focus();
  };
  form.querySelector(".cancel").addEventListener("click", finish);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (field.value.trim() === "") return;
    if (field.value === message.content || (await edit(field.value))) finish();
  });
  submitOnEnter(field, form);
  field.addEventListener("keydown", (event) => event.key === "Escape" && finish());
  item.classList.add("edited");
  text.replaceWith(form);
  field.focus();
}

/** Enter sends, Shift and Enter begins a new line; not while a word is being composed. */
export function submitOnEnter(field, form) {
  field.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      form.requestSubmit();
    }
  });
}
