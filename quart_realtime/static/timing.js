/** Timers that may be told to wait for ever, and promises that others settle. */

/** What a timer can hold; more would fire at once. */
const LONGEST = 2 ** 31 - 1;

/**
 * Do `work` in so many milliseconds.
 *
 * @param {number} milliseconds
 * @param {() => void} work
 */
export function after(milliseconds, work) {
  return setTimeout(work, Math.min(milliseconds, LONGEST));
}

/** @returns {{ promise: Promise<any>, resolve: (value: any) => void, reject: (error: Error) => void }} */
export function deferred() {
  /** @type {any} */
  const made = {};
  made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }));
  // Who doesn't wait for it hears of it by `onDisconnect` or `onError`.
  made.promise.catch(() => {});
  return made;
}
