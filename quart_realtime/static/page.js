/** What a browser tells of its page, as far as a connection should know. */

/** Whether nobody sees the page; never where there is none. */
export const isHidden = () => globalThis.document?.visibilityState === "hidden";

/**
 * Follow the page until the returned undo is called; does nothing where there is none.
 *
 * @param {object} told
 * @param {() => void} told.wake The network or the page may have been away, and is back.
 * @param {() => void} told.doubt The network may be gone; `navigator.onLine` is no proof of it.
 * @param {() => void} told.suspend The page goes into the back/forward cache.
 */
export function followPage({ wake, doubt, suspend }) {
  const { document } = globalThis;
  const awake = () => isHidden() || wake();
  /** @type {[EventTarget | undefined, string, (event: any) => void][]} */
  const listeners = [
    [document, "visibilitychange", awake],
    [document, "resume", awake],
    [globalThis, "focus", awake],
    [globalThis, "online", awake],
    [globalThis, "offline", doubt],
    [globalThis, "pagehide", ({ persisted }) => persisted && suspend()],
    [globalThis, "pageshow", ({ persisted }) => persisted && wake()],
  ];
  for (const [target, type, listener] of listeners) target?.addEventListener?.(type, listener);
  return () => {
    for (const [target, type, listener] of listeners) target?.removeEventListener?.(type, listener);
  };
}
