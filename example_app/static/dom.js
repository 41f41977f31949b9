/** Making elements. All text goes through textContent, so that none is ever read as markup. */

export const $ = (id) => document.getElementById(id);

/** `el("p", { className: "quiet" }, "text", otherElement)` */
export function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children.filter((child) => child !== null)); // Strings become text nodes.
  return element;
}

/** One of six hues, always the same for the same person. */
export function hue(id) {
  let sum = 0;
  for (const character of id) sum = (sum * 29 + character.codePointAt(0)) % 9973;
  return String(sum % 6);
}

export const avatar = (id, name) =>
  el("span", { className: "avatar", "data-hue": hue(id), "aria-hidden": "true" }, [...name][0]);

/** Open a dialog; a promise of the value of the button that closed it, "" for none. */
export function ask(dialog) {
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) =>
    dialog.addEventListener("close", () => resolve(dialog.returnValue), { once: true }),
  );
}

for (const button of document.querySelectorAll("[data-close]")) {
  button.addEventListener("click", () => button.closest("dialog").close());
}
