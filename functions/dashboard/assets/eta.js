// The time left, as it is shown: it counts down by itself between frames, and after a frame that says a little more it goes slower
// instead of jumping up. No page, no clock of its own.

/**
 * `ends`: when the run should be done, by what was shown when it was last told (`heard`); `late`: how much later that was. All in
 * milliseconds of this browser's clock.
 */
export const NO_ETA = { ends: null, late: 0, heard: null };

/** A rise up to this part of what is left, or up to so many milliseconds, is small. */
const SMALL = { part: 0.35, ms: 5_000 };
/** While a rise is made up for, two seconds pass for each one that is counted down. */
const SLOWED_BY = 0.5;
/** Each frame brings it halfway to a smaller value. */
const FALL_BY = 0.5;

/** After a frame that says `seconds` (`null`: nobody knows). */
export function aim(eta, seconds, now) {
  if (seconds === null) return NO_ETA;
  const told = now + seconds * 1000;
  if (eta.ends === null) return { ends: told, late: 0, heard: now };
  const ends = shownEnd(eta, now);
  const rise = told - ends;
  if (rise <= 0) return { ends: ends + rise * FALL_BY, late: 0, heard: now };
  if (rise > Math.max(SMALL.ms, (ends - now) * SMALL.part)) return { ends: told, late: 0, heard: now };
  return { ends, late: rise, heard: now };
}

const shownEnd = ({ ends, late, heard }, now) => ends + Math.min(late, (now - heard) * SLOWED_BY);

/** Whole seconds that are left, `null` if nobody knows. */
export const left = (eta, now) => (eta.ends === null ? null : Math.max(0, Math.ceil((shownEnd(eta, now) - now) / 1000)));
