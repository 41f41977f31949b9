/** Making elements. All text goes in as text nodes: what clients send is never read as markup. */

/**
 * The element of that id.
 *
 * @param {string} id
 * @returns {any}
 */
export const $ = (id) => document.getElementById(id);

/**
 * `el("p", { className: "quiet" }, "text", otherElement)`
 *
 * @param {string} tag
 * @param {Record<string, unknown>} [properties] Names with a dash, and `role`, are attributes.
 * @param {(Node | string | null)[]} children
 * @returns {any}
 */
export function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role" || name === "scope") element.setAttribute(name, String(value));
    else Object.assign(element, { [name]: value });
  }
  element.append(.../** @type {(Node | string)[]} */ (children.filter((child) => child !== null)));
  return element;
}

/**
 * Have a table's rows, or a list's items, stand for `items`: what stays is changed in place, so that
 * neither the focus nor what is selected is lost once a second.
 *
 * @template T
 * @param {HTMLElement} parent
 * @param {T[]} items
 * @param {(item: T) => string} keyOf
 * @param {(item: T) => HTMLElement} make
 * @param {(element: HTMLElement, item: T) => void} update
 */
export function keep(parent, items, keyOf, make, update) {
  const known = new Map([...parent.children].map((child) => [/** @type {HTMLElement} */ (child).dataset.key, child]));
  let place = parent.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    const old = /** @type {HTMLElement | undefined} */ (known.get(key));
    known.delete(key);
    const element = old ?? make(item);
    element.dataset.key = key;
    update(element, item);
    if (element === place) place = place.nextElementSibling;
    else parent.insertBefore(element, place);
  }
  for (const gone of known.values()) gone.remove();
}

/**
 * Write `text` into `element`, where it is another than what is there.
 *
 * @param {Element} element
 * @param {string} text
 */
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** @param {number} count */
export const number = (count) => count.toLocaleString("en");

/** @param {number} bytes */
export function size(bytes) {
  if (bytes < 1000) return `${bytes} B`;
  return bytes < 1_000_000 ? `${(bytes / 1000).toFixed(1)} kB` : `${(bytes / 1_000_000).toFixed(1)} MB`;
}

/** The time of day, to the millisecond. @param {number} seconds since the epoch */
export function clock(seconds) {
  const date = new Date(seconds * 1000);
  return `${date.toTimeString().slice(0, 8)}.${String(date.getMilliseconds()).padStart(3, "0")}`;
}

/** How long ago that was, in one unit. @param {number} seconds since the epoch */
export function ago(seconds) {
  const past = Math.max(0, Date.now() / 1000 - seconds);
  if (past < 60) return `${Math.floor(past)} s`;
  if (past < 3600) return `${Math.floor(past / 60)} min`;
  return past < 86_400 ? `${Math.floor(past / 3600)} h` : `${Math.floor(past / 86_400)} d`;
}
