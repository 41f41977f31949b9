/** Where the websocket is. */

/** Where a server has these files under its own websocket. */
const SERVED = /^(https?:.*)\/client\/url\.js$/;

/**
 * The address of the websocket: `url`, as seen from the page; null where there is none to see from.
 *
 * @param {string} [url] If left out, where these files came from, or `/ws`.
 */
export function websocketUrl(url) {
  // A bundle for a classic script has no `import.meta.url`.
  const served = SERVED.exec(import.meta.url ?? "")?.[1];
  const base = globalThis.location?.href;
  if (base === undefined && !/^\w+:/.test(url ?? "")) return null;
  const parsed = new URL(url ?? served ?? "/ws", base);
  parsed.protocol = parsed.protocol.replace("http", "ws");
  parsed.hash = "";
  if (!parsed.protocol.startsWith("ws")) throw new TypeError(`${parsed.href} is no websocket's URL`);
  return parsed.href;
}
