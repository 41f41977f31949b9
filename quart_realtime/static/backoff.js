/**
 * How long a client waits before it comes back.
 *
 * "Full jitter" on top of a floor, after Marc Brooker, "Exponential Backoff And Jitter", AWS
 * Architecture Blog, 2015. All times in milliseconds.
 */
export class Backoff {
  /**
   * @param {object} [options]
   * @param {number} [options.base] The floor, and what the growing part starts from.
   * @param {number} [options.ceiling] The longest wait.
   * @param {number} [options.stableAfter] How long connected before earlier failures are forgotten.
   * @param {number} [options.longestSpread] What a server's `retry_after_ms` is cut to.
   * @param {() => number} [options.random] Returns a number from 0 to 1.
   */
  constructor({
    base = 500,
    ceiling = 20_000,
    stableAfter = 5_000,
    longestSpread = 60_000,
    random = Math.random,
  } = {}) {
    this.base = base;
    this.ceiling = ceiling;
    this.stableAfter = stableAfter;
    this.longestSpread = longestSpread;
    this.random = random;
  }

  /**
   * How long to wait after so many earlier failures in a row.
   *
   * @param {number} failures
   */
  delay(failures) {
    const span = Math.min(this.ceiling, this.base * 2 ** failures);
    return Math.min(this.ceiling, this.base + this.between(0, span));
  }

  /**
   * How long to wait when a server asked for a return within `retryAfter`.
   *
   * @param {number} retryAfter
   */
  spread(retryAfter) {
    return this.between(0, Math.min(this.longestSpread, Math.max(0, retryAfter)));
  }

  /**
   * A number from `low` to `high`, drawn at random.
   *
   * @param {number} low
   * @param {number} high
   */
  between(low, high) {
    return low + (high - low) * this.random();
  }
}
