/** How what happens reaches the app: callbacks, none of which can harm another. */

/** @typedef {(...values: any[]) => unknown} Callback */
/** @typedef {() => void} Undo */

/**
 * Tell the developer what a callback threw, as if nobody had caught it.
 *
 * @param {unknown} error
 */
function report(error) {
  if (typeof globalThis.reportError === "function") globalThis.reportError(error);
  else console.error(error);
}

/**
 * Call `callback`, and report what it throws.
 *
 * @param {unknown} callback Anything; what is no function isn't called.
 * @param {...unknown} values
 */
export function call(callback, ...values) {
  if (typeof callback !== "function") return;
  try {
    callback(...values);
  } catch (error) {
    report(error);
  }
}

/** Callbacks by the name of what they are for. */
export class Listeners {
  /** @type {Map<string, Set<{ callback: Callback }>>} */
  #byName = new Map();

  /**
   * Call `callback` with each value told under `name`, until the returned undo is called.
   *
   * @param {string} name
   * @param {Callback} callback
   * @returns {Undo}
   */
  add(name, callback) {
    if (typeof callback !== "function") throw new TypeError(`the handler of "${name}" is no function`);
    // An object of its own, so that the same function may be registered twice and undone once.
    const listener = { callback };
    const own = this.#byName.get(name) ?? new Set();
    this.#byName.set(name, own.add(listener));
    return () => {
      own.delete(listener);
      if (own.size === 0 && this.#byName.get(name) === own) this.#byName.delete(name);
    };
  }

  /**
   * @param {string} name
   * @param {...unknown} values
   */
  tell(name, ...values) {
    const own = this.#byName.get(name);
    // A copy: a callback may register others. One undone meanwhile isn't called any more.
    for (const listener of [...(own ?? [])]) if (own?.has(listener)) call(listener.callback, ...values);
  }
}
